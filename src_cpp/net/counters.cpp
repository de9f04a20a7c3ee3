#include "net/counters.h"

namespace offgil::net {

void Counters::end(const Result &result, const Traffic &traffic) {
    constexpr auto relaxed = std::memory_order_relaxed;
    in_flight_.fetch_sub(1, relaxed);
    requests_.fetch_add(1, relaxed);
    opened_.fetch_add(traffic.connections_opened, relaxed);
    reused_.fetch_add(traffic.reused, relaxed);
    sent_.fetch_add(traffic.sent, relaxed);
    received_.fetch_add(traffic.received, relaxed);
    if (const auto *error = std::get_if<Error>(&result))
        errors_[static_cast<std::size_t>(error->kind)].fetch_add(1, relaxed);
}

Counts Counters::read() const {
    constexpr auto relaxed = std::memory_order_relaxed;
    Counts counts{requests_.load(relaxed),
                  opened_.load(relaxed),
                  reused_.load(relaxed),
                  sent_.load(relaxed),
                  received_.load(relaxed),
                  in_flight_.load(relaxed),
                  {}};
    for (std::size_t i = 0; i < kErrorKinds; ++i) counts.errors[i] = errors_[i].load(relaxed);
    return counts;
}

}  // namespace offgil::net
