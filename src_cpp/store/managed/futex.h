// The futex system call on a word of shared memory.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>

namespace offgil::store::managed {

inline std::int64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

/// Sleeps while `word` is `expected`, until `until` (monotonic ns).  May return early; the
/// caller looks again.
inline void futex_wait(std::atomic<std::uint32_t> &word, std::uint32_t expected, std::int64_t until) {
    const timespec deadline{until / 1'000'000'000, until % 1'000'000'000};
    // WAIT_BITSET, unlike WAIT, takes an absolute time, so an early return costs no arithmetic.
    syscall(SYS_futex, reinterpret_cast<std::uint32_t *>(&word), FUTEX_WAIT_BITSET, expected, &deadline,
            nullptr, FUTEX_BITSET_MATCH_ANY);
}

inline void futex_wake(std::atomic<std::uint32_t> &word) {
    syscall(SYS_futex, reinterpret_cast<std::uint32_t *>(&word), FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

}  // namespace offgil::store::managed
