#include "net/client.h"

#include <algorithm>
#include <utility>

namespace offgil::net {

std::optional<Result> drive(Slot &slot, const Request &request, const Interrupt &interrupt) {
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
            return transfer.finish(message ? message->data.result : CURLE_RECV_ERROR, now);
        }
        if (transfer.yields()) return std::nullopt;
        if (slot.multi.cancelled()) return closed_error(request);
        Nanos deadline = transfer.deadline(now);
        if (now >= deadline) return transfer.timeout_error();
        bool ready = slot.multi.poll(now, std::min(deadline, ask_at));
        // A busy socket must not put off the question, nor must each packet ask it.
        if (interrupt.requested && (!ready || now >= ask_at)) {
            if (interrupt()) return transfer.error(ErrorKind::interrupted, "interrupted");
            ask_at = deadline_after(monotonic_now(), interrupt.every);
        }
    }
}

Error closed_error(const Request &request) {
    return {ErrorKind::closed, request.method + " " + request.url + ": the client is closed; make a new one"};
}

Client::Client(Config config) : config_(std::move(config)), pool_(new Pool(config_)) {}

Client::~Client() {
    Pool *pool = pool_.load(std::memory_order_acquire);
    if (pool->generation() == fork_generation()) delete pool;
}

Pool &Client::pool() {
    Pool *pool = pool_.load(std::memory_order_acquire);
    if (pool->generation() == fork_generation()) return *pool;
    auto fresh = std::make_unique<Pool>(config_);
    // Two first users in the child: one pool wins.
    if (pool_.compare_exchange_strong(pool, fresh.get(), std::memory_order_acq_rel)) return *fresh.release();
    return *pool;
}

Result Client::perform(const Request &request, const Interrupt &interrupt) {
    if (closed()) return closed_error(request);
    Pool &pool = this->pool();
    Lease slot = pool.acquire(origin_of(request.url));
    if (!slot) return closed_error(request);
    slot->transfer.begin(request, monotonic_now());
    Added added = add(slot->multi, slot->transfer.easy());
    return *drive(*slot, request, interrupt);
}

void Client::close() {
    closed_.store(true, std::memory_order_release);
    pool().close();
}

}  // namespace offgil::net
