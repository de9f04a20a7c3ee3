// Parked callers: who waits for what, and how they are woken.
//
// === No lost wake-up ===
//
// A waiter sets its bit in the WaitSet of a shard or a topic, then looks whether what it waits for is there,
// then sleeps on its own word.  A publisher publishes, then looks at the set.  Keys are looked up and
// published under the shard's lock; ranks and sets are sequentially consistent atomics: either way one of the
// two sees the other.
//
// === Why bits and not lists ===
//
// A bit is set and cleared without a lock, by anyone, any number of times.  A killed waiter leaves a bit
// that costs a publisher one look, until its process slot is reaped.  One waiter can stand in many sets
// and still sleeps once.
#pragma once

#include <cstdint>

#include "store/managed/segment.h"

namespace offgil::store::managed {

/// WaiterSlot::word
enum : std::uint32_t { kAwake = 0, kNotified = 1, kParked = 2 };

/// Wakes all waiters in `set` whose filter is `hash`.
void notify_key(const Segment &segment, const WaitSet &set, std::uint32_t hash);
/// Wakes one waiter in `set` that nobody has woken yet.
void notify_one(const Segment &segment, const WaitSet &set);
/// Wakes all who wait for room.
void notify_room(const Segment &segment);
/// Wakes every waiter of process slot `process`, or of all processes if it is kProcesses.
void notify_all(const Segment &segment, std::uint32_t process);
/// Clears what a dead process left behind.
void forget_waiters(const Segment &segment, std::uint32_t process);
/// Results that are waited for now.
std::uint32_t count_waiters(const Segment &segment);

/// Adds a waiter to a set, or takes it out; either may be done twice by the same one, or for a dead one.
void set_bit(WaitSet &set, std::uint32_t waiter);
void clear_bit(WaitSet &set, std::uint32_t waiter);

/// How long to look before sleeping; one for each process.  A short wait doubles it and a long one halves it.
/// Two that hand work back and forth thus learn to spin even if they started asleep, when each wait takes as
/// long as waking the other; a process whose results come late soon goes straight to sleep.  Atomics; lost
/// updates do no harm.
class SpinBudget {
  public:
    SpinBudget();
    std::int64_t ns() const { return ns_.load(std::memory_order_relaxed); }
    void learn(std::int64_t waited);

  private:
    bool useful_;  ///< false with one processor
    std::atomic<std::int64_t> ns_;
};

/// A caller's place to sleep.  Used by one thread.
class Waiter {
  public:
    /// `process` is this process's slot, `waits` how many results are waited for.  Throws Error(Full) if all
    /// slots are taken.
    Waiter(const Segment &segment, SpinBudget &spin, std::uint32_t process, std::uint32_t waits);
    ~Waiter();
    Waiter(const Waiter &) = delete;
    Waiter &operator=(const Waiter &) = delete;

    std::uint32_t index() const { return index_; }
    WaiterSlot &slot() const { return segment_.waiter(index_); }

    /// Stands in `set` from now on; at most one.
    void join(WaitSet &set, std::uint32_t filter);
    /// To be called before each look at what is waited for.
    void rearm();
    /// Sleeps until notified or `until` (monotonic ns), or for an early return by a signal; true if notified.
    bool park(std::int64_t until);
    /// In a child of fork, where the slot is that of the parent.
    void disown() { index_ = kWaiters; }
    bool owned() const { return index_ != kWaiters; }

  private:
    const Segment &segment_;
    SpinBudget &spin_;
    std::uint32_t index_;
    WaitSet *set_ = nullptr;
};

}  // namespace offgil::store::managed
