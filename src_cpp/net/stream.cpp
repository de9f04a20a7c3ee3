// A response whose body is handed out piece by piece.
//
// === Back-pressure ===
//
// libcurl reads from the socket inside curl_multi_perform and nowhere else.  So a stream whose next() nobody
// calls receives nothing: the kernel's buffers fill, the peer's window closes, the peer waits.  No thread, no
// queue.
//
// advance() stops after the first turn that brought bytes.  One turn may receive a hundred times if the peer
// is fast, so Transfer pauses libcurl once there is enough for one piece.  A stream thus holds one piece,
// what libcurl received last, and what that decodes to.
//
// === The end ===
//
// The slot goes back to its pool as soon as libcurl has seen the end of the answer, which may be within
// open(): the last piece is the stream's own by then.

#include "net/stream.h"

#include <utility>

namespace offgil::net {

Stream::Stream(Client &client, Request request)
    : client_(client), generation_(fork_generation()), request_(std::move(request)) {}

Stream::~Stream() {
    let_go();
}

void Stream::let_go() {
    if (inherited()) {
        // A forked child: the handles are the parent's to clean up (Client::pool).
        static_cast<void>(added_.release());
        static_cast<void>(slot_.release());
        return;
    }
    added_.reset();
    slot_.reset();
}

std::optional<Error> Stream::open(const Interrupt &interrupt) {
    if (client_.closed()) return closed_error(request_);
    slot_ = client_.pool().acquire(origin_of(request_.url));
    if (!slot_) return closed_error(request_);
    slot_->transfer.begin(request_, monotonic_now(), Transfer::Delivery::pieces);
    added_ = add(slot_->multi, slot_->transfer.easy());
    advance(interrupt);
    // Without a head the failure is the call's; with one it is the body's, and the call has an answer.
    return head_.status == 0 ? std::move(failure_) : std::nullopt;
}

std::variant<std::string_view, Error> Stream::next(const Interrupt &interrupt) {
    if (inherited())
        return error(ErrorKind::closed, "the stream is the parent's, this process was forked off since");
    if (waits()) {
        if (slot_->multi.cancelled()) {
            fail(closed_error(request_));
        } else {
            Transfer &transfer = slot_->transfer;
            piece_.clear();
            std::swap(piece_, transfer.body());
            if (CURLcode code = transfer.resume(monotonic_now()))
                fail(std::get<Error>(transfer.finish(code, monotonic_now())));
            else
                advance(interrupt);
        }
    }
    if (std::exchange(unread_, false)) return std::string_view(piece_.data(), piece_.size());
    if (!failure_) return std::string_view();
    Error said = *failure_;
    // What the interrupt hook left for the caller is there once only.
    if (said.kind == ErrorKind::interrupted)
        failure_ = error(ErrorKind::stream_closed, "an interrupt ended the stream");
    return said;
}

void Stream::advance(const Interrupt &interrupt) {
    Transfer &transfer = slot_->transfer;
    std::optional<Result> over = drive(*slot_, request_, interrupt);
    Error *error = over ? std::get_if<Error>(&*over) : nullptr;
    bool first = head_.status == 0;
    if (over && !error) {
        Response &rest = std::get<Response>(*over);
        std::swap(piece_, rest.body);
        if (first) head_ = std::move(rest);
    } else if (first && transfer.head_complete()) {
        head_ = transfer.take_head(monotonic_now());
        std::swap(piece_, head_.body);
    } else {
        std::swap(piece_, transfer.body());
    }
    unread_ = piece_.size() > 0;
    if (error)
        fail(std::move(*error));
    else if (over)
        let_go();
}

void Stream::fail(Error error) {
    failure_ = std::move(error);
    let_go();
}

void Stream::close() {
    if ((slot_ || unread_) && !failure_)
        failure_ = error(ErrorKind::stream_closed, "the stream was closed before its body was read");
    unread_ = false;
    let_go();
}

Error Stream::error(ErrorKind kind, std::string_view what) const {
    return {kind, request_.method + " " + request_.url + ": " + std::string(what)};
}

}  // namespace offgil::net
