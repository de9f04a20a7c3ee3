// What a put does that finds no room.
//
// First what costs nobody anything: memory of the dead, what has expired, empty pages.  Then what the store's
// policy says.  A blocked put sleeps in one set for the whole store; whoever removes an entry wakes it.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "store/managed/futex.h"
#include "store/managed/store.h"

namespace offgil::store::managed {

void Store::make_room() {
    process_->let_go_dropped();
    process_->reap_dead();
    for (std::uint32_t i = 0; i < segment_.layout().shards; ++i) {
        const LockMutex lock = lock_shard(segment_, i, Mode::Wait);
        const ShardTable shard(segment_, i);
        shard.sweep_all();
        shard.trim();
    }
}

bool Store::find_room(Room reason, std::uint64_t length, std::uint32_t shard, const Patience &patience,
                      const std::function<Room()> &attempt) {
    if (length > segment_.data_bytes()) fail_full(reason, length, " in a store of that size");
    make_room();
    reason = attempt();
    if (reason == Room::Done) return true;
    switch (segment_.config().policy) {
        case Policy::Raise:
            fail_full(reason, length, "");
        case Policy::Evict:
            while (evict_for(reason, length > kSmallChunk, shard))
                if ((reason = attempt()) == Room::Done) return true;
            fail_full(reason, length, ", and nothing that may be evicted");
        case Policy::Block:
            break;
    }
    Waiter waiter(segment_, process_->spin(), process_->slot(), 0);
    waiter.join(segment_.room_waits(), 0);
    for (;;) {
        waiter.rearm();
        check_open();
        make_room();
        if ((reason = attempt()) == Room::Done) return true;
        const std::int64_t now = monotonic_ns();
        if (now >= patience.deadline) fail_full(reason, length, " within the timeout");
        const Interrupt &interrupt = patience.interrupt;
        waiter.park(std::min(patience.deadline, now + interrupt.slice_ns));
        // Also when notified: others may make room again and again that is not enough.
        if (interrupt.check && interrupt.check(interrupt.context)) return false;
    }
}

/// The least recently used of the whole store, or of the shard that needs small memory: what another
/// shard frees there, this one could not use before a whole page is empty.
bool Store::evict_for(Room reason, bool large, std::uint32_t shard) {
    std::vector<std::pair<std::int64_t, std::uint32_t>> oldest;
    for (std::uint32_t i = 0; i < segment_.layout().shards; ++i)
        if (const std::int64_t used = segment_.shard(i).oldest.load(std::memory_order_relaxed))
            oldest.emplace_back(i == shard && reason == Room::Full && !large ? 0 : used, i);
    std::sort(oldest.begin(), oldest.end());
    for (const auto &[used, index] : oldest) {
        const LockMutex lock = lock_shard(segment_, index, Mode::Wait);
        const ShardTable table(segment_, index);
        if (!table.evict()) continue;
        if (reason == Room::Full) table.trim();
        return true;
    }
    return false;
}

void Store::fail_full(Room reason, std::uint64_t length, const char *when) const {
    const Stats now = stats();
    std::string message = "no room for " + std::to_string(length) + " bytes" + when + ": " +
                          std::to_string(now.entries) + " results hold " + std::to_string(now.bytes_used) +
                          " of " + std::to_string(now.bytes_limit) + " bytes";
    if (reason == Room::Crowded)
        message += ", and there may be " + std::to_string(now.entries_limit) + " results";
    throw Error(ErrorKind::Full, message + "; remove results, or make a store with larger bounds");
}

}  // namespace offgil::store::managed
