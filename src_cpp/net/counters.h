// What a client counts.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "net/error.h"
#include "net/transfer.h"

namespace offgil::net {

/// A reading of Counters.
struct Counts {
    std::uint64_t requests = 0;  ///< ended, with an answer or an error
    std::uint64_t connections_opened = 0;
    std::uint64_t connections_reused = 0;
    std::uint64_t bytes_sent = 0;
    std::uint64_t bytes_received = 0;
    std::uint64_t in_flight = 0;
    std::array<std::uint64_t, kErrorKinds> errors{};  ///< by ErrorKind
};

/// Locking: every member is atomic on its own, so a reading is not of one instant.
class Counters {
  public:
    void begin() { in_flight_.fetch_add(1, std::memory_order_relaxed); }

    /// Counts the end of what begin() announced; `traffic` is empty for a request that never got a
    /// connection.
    void end(const Result &result, const Traffic &traffic);

    /// Counts the end of a request that was dropped without a result.
    void drop() { in_flight_.fetch_sub(1, std::memory_order_relaxed); }

    Counts read() const;

  private:
    using Counter = std::atomic<std::uint64_t>;
    Counter requests_{0}, opened_{0}, reused_{0}, sent_{0}, received_{0}, in_flight_{0};
    std::array<Counter, kErrorKinds> errors_{};
};

}  // namespace offgil::net
