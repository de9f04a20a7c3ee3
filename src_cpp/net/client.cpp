#include "net/client.h"

#include <algorithm>
#include <utility>

namespace offgil::net {

namespace {

/// Keeps an easy handle in a multi handle for as long as the scope runs.
class Added {
  public:
    Added(CURLM *multi, CURL *easy) : multi_(multi), easy_(easy) { curl_multi_add_handle(multi, easy); }
    void again() {
        curl_multi_remove_handle(multi_, easy_);
        curl_multi_add_handle(multi_, easy_);
    }
    ~Added() { curl_multi_remove_handle(multi_, easy_); }
    Added(const Added &) = delete;
    Added &operator=(const Added &) = delete;

  private:
    CURLM *multi_;
    CURL *easy_;
};

/// Drives the slot's one transfer to its end.
Result drive(Slot &slot, const Request &request, const Interrupt &interrupt) {
    Transfer &transfer = slot.transfer;
    Nanos now = monotonic_now();
    Nanos ask_at = deadline_after(now, interrupt.every);
    transfer.begin(request, now);
    Added added(slot.multi.handle(), transfer.easy());
    for (;;) {
        int running = 0;
        CURLMcode multi_code = curl_multi_perform(slot.multi.handle(), &running);
        now = monotonic_now();
        if (multi_code != CURLM_OK) return transfer.error(ErrorKind::read, curl_multi_strerror(multi_code));
        if (running == 0) {
            int left = 0;
            CURLMsg *message = curl_multi_info_read(slot.multi.handle(), &left);
            if (transfer.wants_restart(now)) {
                added.again();
                continue;
            }
            return transfer.finish(message ? message->data.result : CURLE_RECV_ERROR, now);
        }
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

}  // namespace

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
    return drive(*slot, request, interrupt);
}

void Client::close() {
    closed_.store(true, std::memory_order_release);
    pool().close();
}

}  // namespace offgil::net
