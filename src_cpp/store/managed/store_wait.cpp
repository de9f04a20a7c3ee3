// Waiting for keys and taking from topics.
//
// === The order of take ===
//
// Each shard publishes, for each topic, the rank of its first entry.  take() looks at all of them for the
// highest, and looks again: an entry that was there before the chosen one was put is seen by the second
// look at the latest, so what two looks agree on was the first of the whole topic at some moment between
// them.  It is then removed under its shard's lock if it still is that shard's first.  So puts of one topic
// meet on no common lock.
#include <algorithm>
#include <charconv>

#include "store/managed/futex.h"
#include "store/managed/store.h"
#include "store/managed/topics.h"

namespace offgil::store::managed {

namespace {

void set_claim(Claim &claim, std::string_view key) {
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), number, 16);
    claim.since.store(monotonic_ns(), std::memory_order_relaxed);
    claim.number.store(error == std::errc{} && end == key.data() + key.size() ? number : 0,
                       std::memory_order_release);
}

}  // namespace

template <typename Attempt>
Outcome Store::wait_for(WaitSet &set, std::uint32_t filter, const Patience &patience, Attempt &&attempt) {
    Waiter waiter(segment_, process_->spin(), process_->slot(), 1);
    waiter.join(set, filter);
    for (;;) {
        waiter.rearm();
        const Outcome outcome = attempt();  // throws if the store was closed
        if (outcome == Outcome::Done) return outcome;
        const std::int64_t now = monotonic_ns();
        if (now >= patience.deadline) return Outcome::Absent;
        const Interrupt &interrupt = patience.interrupt;
        if (!waiter.park(std::min(patience.deadline, now + interrupt.slice_ns)) && interrupt.check &&
            interrupt.check(interrupt.context))
            return Outcome::Interrupted;
    }
}

Outcome Store::wait(std::string_view key, bool consume, Fetched &out, const Patience &patience) {
    const Outcome outcome = get(key, consume, out);
    if (outcome != Outcome::Absent || monotonic_ns() >= patience.deadline) return outcome;
    const std::uint32_t hash = checked_hash(key);
    return wait_for(segment_.shard_waits(shard_of(hash)), hash, patience,
                    [&] { return get(key, consume, out); });
}

std::uint64_t Store::best(std::uint32_t topic, std::uint32_t &shard) const {
    std::uint64_t best = 0;
    for (std::uint32_t i = 0; i < segment_.layout().shards; ++i) {
        const std::uint64_t rank = segment_.rank(topic, i).load();
        if (rank > best) {
            best = rank;
            shard = i;
        }
    }
    return best;
}

Outcome Store::take_from(std::uint32_t topic, std::string &key, Fetched &out, Mode mode, Claim *claim) {
    for (;;) {
        std::uint32_t index = 0;
        std::uint64_t rank = best(topic, index);
        for (std::uint64_t before = 0; rank != before;) {
            before = rank;
            rank = best(topic, index);
        }
        if (!rank) return Outcome::Absent;
        const ShardTable shard(segment_, index);
        const LockMutex lock = lock_shard(segment_, index, mode);
        if (!lock.held()) return Outcome::Busy;
        // Somebody else was faster, or something better came to this shard: look again.
        if (segment_.rank(topic, index).load() != rank) continue;
        const std::uint32_t record = shard.first(topic);
        // What was first may have expired just now.
        if (segment_.rank(topic, index).load() != rank) continue;
        if (!record ||
            rank_of(word_of(segment_.record(record)).priority, segment_.record(record).sequence) != rank)
            fail_corrupted("a topic's list does not begin with what its rank says");
        key = shard.key(segment_.record(record));
        if (claim) set_claim(*claim, key);
        OFFGIL_FAULT();
        fetch(shard, index, record, true, false, out);
        return Outcome::Done;
    }
}

Outcome Store::take(std::optional<std::string_view> name, std::string &key, Fetched &out, Mode mode,
                    Claim *claim) {
    const std::uint32_t topic = find_topic(segment_, name);
    if (!prepare(mode)) return Outcome::Busy;
    if (topic == kNoTopic) return Outcome::Absent;
    return take_from(topic, key, out, mode, claim);
}

Outcome Store::take_wait(std::optional<std::string_view> name, std::string &key, Fetched &out,
                         const Patience &patience, Claim *claim) {
    const Outcome outcome = take(name, key, out, Mode::Wait, claim);
    if (outcome != Outcome::Absent || monotonic_ns() >= patience.deadline) return outcome;
    const std::uint32_t topic = make_topic(segment_, name, Mode::Wait);
    WaitSet &set = segment_.topic_waits(topic);
    const Outcome waited = wait_for(set, 0, patience, [&] {
        check_open();
        return take_from(topic, key, out, Mode::Wait, claim);
    });
    // A put wakes one taker.  This one may have been woken for an entry that it leaves behind: pass it on.
    std::uint32_t ignored = 0;
    if (best(topic, ignored)) notify_one(segment_, set);
    return waited;
}

}  // namespace offgil::store::managed
