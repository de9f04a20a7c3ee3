// One thread's place to sleep until another thread wakes it, once.
#pragma once

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>
#else
#include <condition_variable>
#include <mutex>
#endif

#include "store/shared/clock.h"

namespace offgil::store {

/// Lives on the waiting thread's stack.  One thread parks, at most one other wakes; a wake-up that comes
/// before the parking is kept.  What the waker wrote before wake() is visible to the sleeper after
/// park_until() returned true.
///
/// A futex rather than a condition variable: the sleeper then takes no lock on its way out, so it never runs
/// into the waker's (a second sleep, on a path whose length is the latency of every hand-off).  Nor
/// std::binary_semaphore, whose timed acquire can miss a wake-up in libstdc++ 12.
class Parker {
  public:
    Parker() = default;
    Parker(const Parker &) = delete;
    Parker &operator=(const Parker &) = delete;

#ifdef __linux__
    void wake() noexcept {
        // From this exchange on the sleeper may return and its stack may be reused.  The futex call below
        // then wakes nobody, or someone who must expect spurious wake-ups anyway; it never reads the memory.
        if (word_.exchange(kWoken, std::memory_order_acq_rel) == kParked)
            syscall(SYS_futex, address(), FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }

    /// True once woken.  False at `deadline`, and earlier if a signal arrived: the caller decides whether to
    /// go on.
    bool park_until(Time deadline) noexcept {
        std::uint32_t seen = kIdle;
        if (!word_.compare_exchange_strong(seen, kParked, std::memory_order_acq_rel) && seen == kWoken)
            return true;
        // FUTEX_WAIT_BITSET, unlike FUTEX_WAIT, takes an absolute time, so that a spurious return cannot
        // stretch it.
        const timespec until = to_timespec(deadline);
        do {
            const long rc = syscall(SYS_futex, address(), FUTEX_WAIT_BITSET_PRIVATE, kParked,
                                    deadline == kNever ? nullptr : &until, nullptr, FUTEX_BITSET_MATCH_ANY);
            if (word_.load(std::memory_order_acquire) == kWoken) return true;
            if (rc == -1 && errno == EINTR) return false;
        } while (Clock::now() < deadline);
        return false;
    }

  private:
    static constexpr std::uint32_t kIdle = 0, kParked = 1, kWoken = 2;

    static timespec to_timespec(Time t) noexcept {
        using namespace std::chrono;
        const auto whole = time_point_cast<seconds>(t);
        timespec ts{};
        ts.tv_sec = static_cast<time_t>(whole.time_since_epoch().count());
        ts.tv_nsec = static_cast<long>(duration_cast<nanoseconds>(t - whole).count());
        return ts;
    }

    std::uint32_t *address() noexcept {
        return reinterpret_cast<std::uint32_t *>(&word_);
    }

    std::atomic<std::uint32_t> word_{kIdle};
    static_assert(sizeof(word_) == 4, "the kernel reads the atomic as a 32-bit futex word");
    static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
#else
    void wake() noexcept {
        // Notifies under the mutex: the sleeper cannot leave, and destroy the condition, before it is
        // released.
        const std::lock_guard lock(mutex_);
        woken_ = true;
        condition_.notify_one();
    }

    bool park_until(Time deadline) noexcept {
        std::unique_lock lock(mutex_);
        const auto woken = [this] { return woken_; };
        if (deadline != kNever) return condition_.wait_until(lock, deadline, woken);
        condition_.wait(lock, woken);
        return true;
    }

  private:
    std::mutex mutex_;
    std::condition_variable condition_;
    bool woken_ = false;  ///< guarded by mutex_
#endif
};

}  // namespace offgil::store
