#include "net/batch.h"

#include <algorithm>
#include <utility>

namespace offgil::net {

Batch::Batch(Client &client, std::size_t connections)
    : running_(client.pool(), [this](Running::Item &item, Result result) {
          done_.push_back({item.tag, std::move(result)});
      }) {
    curl_multi_setopt(running_.multi().handle(), CURLMOPT_MAXCONNECTS, static_cast<long>(connections));
}

void Batch::add(Request request, std::uint64_t tag) {
    const Nanos until = deadline_after(monotonic_now(), request.timeouts.total);
    running_.start(std::move(request), tag, until);
    running_.pool().counters().begin();
}

std::vector<Batch::Completion> Batch::wait(Nanos deadline, const Interrupt &interrupt, bool &interrupted) {
    interrupted = false;
    Multi &multi = running_.multi();
    Nanos ask_at = deadline_after(monotonic_now(), interrupt.every);
    for (;;) {
        running_.turn();
        const Nanos now = monotonic_now();
        if (!done_.empty() || now >= deadline || multi.closed()) return std::exchange(done_, {});
        bool ready = multi.poll(now, std::min({deadline, running_.due(), ask_at}));
        if (interrupt.requested && (!ready || now >= ask_at)) {
            if ((interrupted = interrupt())) return {};
            ask_at = deadline_after(monotonic_now(), interrupt.every);
        }
    }
}

}  // namespace offgil::net
