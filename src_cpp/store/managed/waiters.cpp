#include "store/managed/waiters.h"

#include <sched.h>

#include <algorithm>
#include <bit>

#include "store/managed/futex.h"

namespace offgil::store::managed {

namespace {

constexpr std::int64_t kSpinMax = 50'000;  // longer than waking a sleeper on another core takes
constexpr std::int64_t kSpinStart = 4'000;
constexpr std::int64_t kSpinMin = 500;  // enough to find out that it would pay again

void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

/// False if somebody else has notified the waiter already.
bool notify(WaiterSlot &slot) {
    const std::uint32_t before = slot.word.exchange(kNotified);
    if (before == kParked) futex_wake(slot.word);
    return before != kNotified;
}

/// Calls `visit(index)` for each bit of `set` until it returns true.
template <typename Visit>
void each_waiter(const Segment &segment, const WaitSet &set, Visit &&visit) {
    if (set.count.load() == 0) return;
    const std::uint32_t words = (std::min(segment.header().waiter_high.load(), kWaiters) + 63) / 64;
    for (std::uint32_t word = 0; word < words; ++word)
        for (std::uint64_t bits = set.bits[word].load(); bits; bits &= bits - 1)
            if (visit(word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits)))) return;
}

}  // namespace

/// Counting comes first and last, so that a death in between leaves the count too high, never too low.
void set_bit(WaitSet &set, std::uint32_t index) {
    set.count.fetch_add(1);
    set.bits[index / 64].fetch_or(std::uint64_t{1} << (index % 64));
}
void clear_bit(WaitSet &set, std::uint32_t index) {
    const std::uint64_t bit = std::uint64_t{1} << (index % 64);
    if (set.bits[index / 64].fetch_and(~bit) & bit) set.count.fetch_sub(1);
}

void notify_key(const Segment &segment, const WaitSet &set, std::uint32_t hash) {
    each_waiter(segment, set, [&](std::uint32_t i) {
        WaiterSlot &slot = segment.waiter(i);
        const std::uint64_t mask = slot.mask.load(std::memory_order_relaxed);
        if (mask ? mask >> (hash >> 26) & 1 : slot.filter.load(std::memory_order_relaxed) == hash)
            notify(slot);
        return false;
    });
}

void notify_room(const Segment &segment) {
    each_waiter(segment, segment.room_waits(), [&](std::uint32_t i) {
        notify(segment.waiter(i));
        return false;
    });
}

void notify_one(const Segment &segment, const WaitSet &set) {
    each_waiter(segment, set, [&](std::uint32_t i) { return notify(segment.waiter(i)); });
}

void notify_all(const Segment &segment, std::uint32_t process) {
    const std::uint32_t high = std::min(segment.header().waiter_high.load(), kWaiters);
    for (std::uint32_t i = 0; i < high; ++i) {
        WaiterSlot &slot = segment.waiter(i);
        const std::uint32_t owner = slot.owner.load();
        if (owner && (process == kProcesses || owner == process + 1)) notify(slot);
    }
}

void forget_waiters(const Segment &segment, std::uint32_t process) {
    const std::uint32_t high = std::min(segment.header().waiter_high.load(), kWaiters);
    for (std::uint32_t i = 0; i < high; ++i) {
        if (segment.waiter(i).owner.load() != process + 1) continue;
        for (std::uint32_t shard = 0; shard < segment.layout().shards; ++shard)
            clear_bit(segment.shard_waits(shard), i);
        for (std::uint32_t topic = 0; topic < kTopics; ++topic)
            if (topic == 0 || segment.topic(topic).ready.load()) clear_bit(segment.topic_waits(topic), i);
        clear_bit(segment.room_waits(), i);
        segment.waiter(i).owner.store(0);
    }
}

std::uint32_t count_waiters(const Segment &segment) {
    std::uint32_t count = 0;
    const std::uint32_t high = std::min(segment.header().waiter_high.load(), kWaiters);
    for (std::uint32_t i = 0; i < high; ++i) {
        const WaiterSlot &slot = segment.waiter(i);
        if (slot.owner.load(std::memory_order_relaxed)) count += slot.waits.load(std::memory_order_relaxed);
    }
    return count;
}

SpinBudget::SpinBudget() {
    cpu_set_t set;
    useful_ = sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) > 1;
    ns_ = useful_ ? kSpinStart : 0;
}

void SpinBudget::learn(std::int64_t waited) {
    if (!useful_) return;
    const std::int64_t now = ns();
    ns_.store(waited < 2 * kSpinMax ? std::min(now * 2, kSpinMax) : std::max(now / 2, kSpinMin),
              std::memory_order_relaxed);
}

Waiter::Waiter(const Segment &segment, SpinBudget &spin, std::uint32_t process, std::uint32_t waits)
    : segment_(segment), spin_(spin) {
    for (index_ = 0; index_ < kWaiters; ++index_) {
        std::uint32_t nobody = 0;
        // Before the owner, so that nobody who sees the owner looks below a high mark that misses it.
        std::atomic<std::uint32_t> &high = segment.header().waiter_high;
        for (std::uint32_t seen = high.load(); seen <= index_;)
            if (high.compare_exchange_weak(seen, index_ + 1)) break;
        if (segment.waiter(index_).owner.compare_exchange_strong(nobody, process + 1)) {
            slot().mask.store(0, std::memory_order_relaxed);
            slot().waits.store(waits, std::memory_order_relaxed);
            return;
        }
    }
    throw Error(ErrorKind::Full,
                "4096 callers wait already, in all processes together; let some of them go first");
}

Waiter::~Waiter() {
    if (!owned()) return;
    if (set_) clear_bit(*set_, index_);
    segment_.waiter(index_).owner.store(0);
}

void Waiter::join(WaitSet &set, std::uint32_t filter) {
    segment_.waiter(index_).filter.store(filter, std::memory_order_relaxed);
    set_ = &set;
    set_bit(set, index_);
}

void Waiter::rearm() {
    segment_.waiter(index_).word.store(kAwake);
}

bool Waiter::park(std::int64_t until) {
    std::atomic<std::uint32_t> &word = segment_.waiter(index_).word;
    const std::int64_t start = monotonic_ns();
    if (const std::int64_t budget = spin_.ns()) {
        do {
            for (int i = 0; i < 32; ++i) {
                if (word.load() == kNotified) {
                    spin_.learn(0);
                    return true;
                }
                pause();
            }
        } while (monotonic_ns() < start + budget);
    }
    std::uint32_t awake = kAwake;
    if (!word.compare_exchange_strong(awake, kParked)) return true;
    futex_wait(word, kParked, until);
    spin_.learn(monotonic_ns() - start);
    // Back to awake, unless a notification came: that one counts.
    std::uint32_t parked = kParked;
    return !word.compare_exchange_strong(parked, kAwake);
}

}  // namespace offgil::store::managed
