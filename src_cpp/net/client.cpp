#include "net/client.h"

#include <algorithm>
#include <utility>

namespace offgil::net {

std::optional<Result> drive(Slot &slot, const Request &request, const CancelToken::Link &link,
                            const Interrupt &interrupt) {
    Transfer &transfer = slot.transfer;
    Nanos now = monotonic_now();
    Nanos ask_at = deadline_after(now, interrupt.every);
    for (;;) {
        int running = 0;
        CURLMcode multi_code = curl_multi_perform(slot.multi.handle(), &running);
        now = monotonic_now();
        if (multi_code != CURLM_OK) return transfer.error(ErrorKind::read, curl_multi_strerror(multi_code));
        if (running == 0) {
            int left = 0;
            CURLMsg *message = curl_multi_info_read(slot.multi.handle(), &left);
            if (transfer.wants_restart(now)) {
                curl_multi_remove_handle(slot.multi.handle(), transfer.easy());
                curl_multi_add_handle(slot.multi.handle(), transfer.easy());
                continue;
            }
            // Without a word about its end, it could not be added to the multi handle.
            return transfer.finish(message ? message->data.result : CURLE_OUT_OF_MEMORY, now);
        }
        if (transfer.yields()) return std::nullopt;
        if (slot.multi.closed()) return failure(ErrorKind::closed, request);
        if (link.cancelled()) return failure(ErrorKind::cancelled, request);
        Nanos deadline = transfer.deadline(now);
        if (now >= deadline) return transfer.timeout_error(now);
        if (transfer.starved()) {
            if (!request.upload->refill()) return failure(ErrorKind::source, request);
            now = monotonic_now();
            if (CURLcode code = transfer.resume_sending(now)) return transfer.finish(code, now);
            continue;
        }
        bool ready = slot.multi.poll(now, std::min(deadline, ask_at));
        // Before libcurl makes progress, which would count: limits may be shorter than a turn.
        if (!ready && monotonic_now() >= deadline) return transfer.timeout_error(deadline);
        // A busy socket must not put off the question, nor must each packet ask it.
        if (interrupt.requested && (!ready || now >= ask_at)) {
            if (interrupt()) return failure(ErrorKind::interrupted, request);
            ask_at = deadline_after(monotonic_now(), interrupt.every);
        }
    }
}

Error failure(ErrorKind kind, const Request &request) {
    const char *what = "interrupted";
    if (kind == ErrorKind::closed) what = "the client is closed; make a new one";
    if (kind == ErrorKind::cancelled) what = "cancelled";
    if (kind == ErrorKind::deadline) what = "no connection of the pool became free within the deadline";
    if (kind == ErrorKind::pool_timeout)
        what = "no connection of the pool became free in time; raise max_connections or the pool timeout";
    return {kind, request.method + " " + request.url + ": " + what};
}

Error pause_failure(ErrorKind kind) {
    return {kind, kind == ErrorKind::closed ? "the client was closed between two attempts"
                                            : "cancelled between two attempts"};
}

std::variant<Lease, Error> lease(Pool &pool, const Request &request, Nanos now, const Interrupt &interrupt) {
    const Nanos until = deadline_after(now, request.timeouts.total);
    const Nanos pool_until = std::min(until, deadline_after(now, request.timeouts.pool));
    auto acquired = pool.acquire(origin_of(request.url), {pool_until, interrupt, request.cancel});
    if (auto *slot = std::get_if<Lease>(&acquired)) return std::move(*slot);
    const ErrorKind kind = std::get<ErrorKind>(acquired);
    const bool total = kind == ErrorKind::pool_timeout && pool_until == until;
    return failure(total ? ErrorKind::deadline : kind, request);
}

Client::Client(Config config) : config_(std::move(config)), pool_(config_) {}

Result Client::perform(const Request &request, const Interrupt &interrupt) {
    if (closed()) return failure(ErrorKind::closed, request);
    Pool &pool = this->pool();
    pool.counters().begin();
    const Nanos now = monotonic_now();
    auto acquired = lease(pool, request, now, interrupt);
    if (auto *error = std::get_if<Error>(&acquired)) {
        Result failed = std::move(*error);
        pool.counters().end(failed, {});
        return failed;
    }
    Slot &slot = *std::get<Lease>(acquired);
    CancelToken::Link link(request.cancel, slot.multi);
    slot.transfer.begin(request, monotonic_now(), deadline_after(now, request.timeouts.total));
    Added added = add(slot.multi, slot.transfer.easy());
    Result result = *drive(slot, request, link, interrupt);
    pool.counters().end(result, slot.transfer.traffic());
    if (auto *response = std::get_if<Response>(&result)) response->elapsed = monotonic_now() - now;
    return result;
}

void Client::close() {
    closed_.store(true, std::memory_order_release);
    pool().close();
}

}  // namespace offgil::net
