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
// open(): the last piece is the stream's own by then.  Its place among max_connections stays taken until
// somebody has that piece: the bound is on answers that are being read.
//
// === Closing early ===
//
// Who waits for the last event of a stream closes it there, a few bytes before the answer's end.  These have
// often come by then, and close() looks once: a new connection would cost far more.

#include "net/stream.h"

#include <utility>

namespace offgil::net {

Stream::Stream(Client &client, Request request)
    : client_(client), generation_(fork_generation()), request_(std::move(request)) {}

Stream::~Stream() {
    let_go();
}

void Stream::let_go() {
    // In a forked child the handles are the parent's to clean up (Client::pool).
    if (inherited()) {
        static_cast<void>(place_.release());
        return static_cast<void>(run_.release());
    }
    place_.reset();
    if (run_) run_->slot.get_deleter().pool->counters().drop();
    run_.reset();
}

void Stream::end(const Result &result) {
    Pool &pool = *run_->slot.get_deleter().pool;
    pool.counters().end(result, run_->slot->transfer.traffic());
    if (unread_) place_ = pool.occupy();
    run_.reset();
}

std::optional<Error> Stream::open(const Interrupt &interrupt) {
    if (client_.closed()) return failure(ErrorKind::closed, request_);
    Pool &pool = client_.pool();
    pool.counters().begin();
    const Nanos now = monotonic_now();
    until_ = deadline_after(now, request_.timeouts.total);
    auto acquired = lease(pool, request_, now, interrupt);
    if (auto *error = std::get_if<Error>(&acquired)) {
        pool.counters().end(*error, {});
        return std::move(*error);
    }
    run_ = std::make_unique<Run>(std::get<Lease>(std::move(acquired)));
    Slot &slot = *run_->slot;
    run_->link = CancelToken::Link(request_.cancel, slot.multi);
    slot.transfer.begin(request_, monotonic_now(), until_, Transfer::Delivery::pieces);
    run_->added = add(slot.multi, slot.transfer.easy());
    advance(interrupt);
    // Without a head the failure is the call's; with one it is the body's, and the call has an answer.
    return head_.status == 0 ? std::move(failure_) : std::nullopt;
}

std::optional<Error> Stream::given_up(Nanos now) const {
    if (run_->slot->multi.closed()) return failure(ErrorKind::closed, request_);
    if (run_->link.cancelled()) return failure(ErrorKind::cancelled, request_);
    if (now >= until_) return run_->slot->transfer.timeout_error(now);
    return std::nullopt;
}

std::variant<std::string_view, Error> Stream::next(const Interrupt &interrupt) {
    if (inherited())
        return error(ErrorKind::closed, "the stream is the parent's, this process was forked off since");
    if (waits()) {
        Transfer &transfer = run_->slot->transfer;
        const Nanos now = monotonic_now();
        piece_.clear();
        std::swap(piece_, transfer.body());
        if (auto reason = given_up(now))
            fail(std::move(*reason));
        else if (CURLcode code = transfer.resume(now))
            fail(std::get<Error>(transfer.finish(code, now)));
        else
            advance(interrupt);
    }
    if (std::exchange(unread_, false)) {
        place_.reset();
        return std::string_view(piece_.data(), piece_.size());
    }
    if (!failure_) return std::string_view();
    Error said = *failure_;
    // What a hook left for the caller is there once only.
    if (said.kind == ErrorKind::interrupted || said.kind == ErrorKind::source)
        failure_ = error(ErrorKind::stream_closed, "an exception ended the stream");
    return said;
}

void Stream::advance(const Interrupt &interrupt) {
    Transfer &transfer = run_->slot->transfer;
    std::optional<Result> over = drive(*run_->slot, request_, run_->link, interrupt);
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
        end(*over);
}

void Stream::fail(Error error) {
    failure_ = error;
    end(std::move(error));
}

void Stream::take_end() {
    Slot &slot = *run_->slot;
    const Nanos now = monotonic_now();
    if (given_up(now) || slot.transfer.resume(now) != CURLE_OK) return;
    int running = 0, left = 0;
    curl_multi_perform(slot.multi.handle(), &running);
    CURLMsg *message = curl_multi_info_read(slot.multi.handle(), &left);
    if (message && message->data.result == CURLE_OK) end(slot.transfer.finish(CURLE_OK, monotonic_now()));
}

void Stream::close() {
    if ((run_ || unread_) && !failure_)
        failure_ = error(ErrorKind::stream_closed, "the stream was closed before its body was read");
    if (waits() && !inherited()) take_end();
    unread_ = false;
    piece_ = Body();  // a closed stream may be kept for its head
    let_go();
}

Error Stream::error(ErrorKind kind, std::string_view what) const {
    return {kind, request_.method + " " + request_.url + ": " + std::string(what)};
}

}  // namespace offgil::net
