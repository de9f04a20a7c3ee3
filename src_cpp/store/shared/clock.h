// The table's clock: monotonic, and a cheap reading of it.
#pragma once

#include <chrono>

#ifdef __linux__
#include <ctime>
#endif

namespace offgil::store {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

inline constexpr Time kNever = Time::max();

/// The time of the last scheduler tick, at most some milliseconds ago.  For what people read: it costs a
/// fifth of Clock::now(), which would be a tenth of a put.
inline Time recently() noexcept {
#ifdef __linux__
    // libstdc++ and libc++ both read CLOCK_MONOTONIC for steady_clock; its coarse form is on the same scale.
    timespec ts{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return Time(std::chrono::seconds(ts.tv_sec) + std::chrono::nanoseconds(ts.tv_nsec));
#else
    return Clock::now();
#endif
}

}  // namespace offgil::store
