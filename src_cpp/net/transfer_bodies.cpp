// How the bodies of a transfer move: the answer's into memory or a file, and the request's out of an upload.
#include <algorithm>
#include <cstdio>
#include <new>

#include "net/transfer.h"

namespace offgil::net {

namespace {

// Of an answer in pieces, as much is taken at once; then libcurl is told to wait.
constexpr std::size_t kEnoughForAPiece = 128 * 1024;

// A server's word is not enough to allocate more than this at once; larger bodies grow as they come.
constexpr curl_off_t kLargestReservation = 64 * 1024 * 1024;

}  // namespace

std::size_t Transfer::on_body(char *data, std::size_t size, std::size_t count, void *self) {
    auto *transfer = static_cast<Transfer *>(self);
    transfer->active_ = monotonic_now();
    if (transfer->delivery_ == Delivery::pieces && transfer->flow_ != Flow::draining &&
        transfer->response_.body.size() >= kEnoughForAPiece) {
        transfer->flow_ = Flow::paused;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (!transfer->body_started_ && !transfer->start_body()) return 0;
    return transfer->take(data, size * count) ? size * count : 0;
}

bool Transfer::start_body() {
    body_started_ = true;
    long status = 0;
    curl_easy_getinfo(easy(), CURLINFO_RESPONSE_CODE, &status);
    // What an error says is not what the file is for.
    if (!successful(static_cast<int>(status))) sink_.reset();
    if (sink_ || delivery_ == Delivery::pieces) return true;
    curl_off_t announced = -1;
    curl_easy_getinfo(easy(), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
    if (announced <= 0) return true;
    if (static_cast<std::size_t>(announced) > config_.max_response_bytes)
        refusal_ = Refusal::long_body;
    else if (!response_.body.reserve(static_cast<std::size_t>(std::min(announced, kLargestReservation))))
        out_of_memory_ = true;
    return refusal_ == Refusal::none && !out_of_memory_;
}

bool Transfer::take(const char *data, std::size_t size) {
    if (sink_) return sink_->append(data, size);
    Body &body = response_.body;
    // After decoding: a small answer may unpack to a very large one.  Who takes pieces holds none of the body
    // but one.
    if (delivery_ == Delivery::whole && size > config_.max_response_bytes - body.size()) {
        refusal_ = Refusal::long_body;
        return false;
    }
    if (body.append(data, size)) return true;
    out_of_memory_ = true;
    return false;
}

CURLcode Transfer::resume(Nanos now) {
    active_ = now;
    if (flow_ == Flow::open) return CURLE_OK;
    // on_body() takes all that libcurl kept, however much: it would copy the rest at each further pause.
    flow_ = Flow::draining;
    CURLcode code = curl_easy_pause(easy(), CURLPAUSE_CONT);
    flow_ = Flow::open;
    return code;
}

std::size_t Transfer::on_read(char *buffer, std::size_t size, std::size_t count, void *self) {
    auto *transfer = static_cast<Transfer *>(self);
    try {
        return transfer->request_->upload->read(buffer, size * count);
    } catch (const std::bad_alloc &) {  // of an error's text
        transfer->out_of_memory_ = true;
        return CURL_READFUNC_ABORT;
    }
}

int Transfer::on_seek(void *self, curl_off_t offset, int origin) {
    auto *transfer = static_cast<Transfer *>(self);
    if (offset == 0 && origin == SEEK_SET && transfer->request_->upload->rewind()) return CURL_SEEKFUNC_OK;
    transfer->replay_refused_ = true;
    return CURL_SEEKFUNC_FAIL;
}

CURLcode Transfer::resume_sending(Nanos now) {
    active_ = now;  // the time since was the caller's
    return curl_easy_pause(easy(), flow_ == Flow::paused ? CURLPAUSE_RECV : CURLPAUSE_CONT);
}

void Transfer::note_sent(Nanos now) {
    if (phase_ == Phase::connecting) return;
    curl_off_t sent = 0;
    curl_easy_getinfo(easy(), CURLINFO_SIZE_UPLOAD_T, &sent);
    if (sent > uploaded_) active_ = now;
    uploaded_ = sent;
    if (const Upload *upload = request_->upload.get()) {
        // In chunks more is sent than was taken.
        const bool all_taken = upload->size ? upload->taken() >= *upload->size : upload->ended();
        sent_ = all_taken && sent >= static_cast<curl_off_t>(upload->taken());
    } else {
        sent_ = sent >= static_cast<curl_off_t>(request_->body.size());
    }
    if (sent_ && phase_ == Phase::sending) phase_ = Phase::receiving;
}

}  // namespace offgil::net
