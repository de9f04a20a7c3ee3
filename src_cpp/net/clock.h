// Monotonic time as plain nanoseconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>

namespace offgil::net {

/// Nanoseconds of the monotonic clock, or a span of them.
using Nanos = std::int64_t;

/// The deadline that never comes.
inline constexpr Nanos kNever = std::numeric_limits<Nanos>::max();

inline constexpr Nanos kMillisecond = 1'000'000;

inline Nanos monotonic_now() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

/// `start + span` without overflow; an endless span stays endless.
inline Nanos deadline_after(Nanos start, Nanos span) {
    return span >= kNever - start ? kNever : start + span;
}

}  // namespace offgil::net
