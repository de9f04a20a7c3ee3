#include "store/managed/watch.h"

#include <algorithm>
#include <utility>

#include "store/managed/futex.h"

namespace offgil::store::managed {

Watch::Watch(Store &store)
    : store_(store),
      segment_(store.segment()),
      generation_(store.process()->generation()),
      waiter_(segment_, store.process()->spin(), store.process()->slot(), 0),
      parts_(segment_.layout().shards) {}

Watch::~Watch() {
    // A child of fork has inherited an object whose slot belongs to the parent.
    if (store_.process()->generation() != generation_) waiter_.disown();
    if (!waiter_.owned()) return;
    for (std::uint32_t i = 0; i < parts_.size(); ++i)
        if (parts_[i].joined) clear_bit(segment_.shard_waits(i), waiter_.index());
}

void Watch::check_ours() const {
    if (store_.process()->generation() != generation_)
        throw Error(ErrorKind::Unavailable, "this waits for the parent process; wait anew after a fork");
}

void Watch::add(std::string key) {
    check_ours();
    const std::uint32_t hash = store_.checked_hash(key);
    const std::uint32_t shard = hash % segment_.layout().shards;
    const std::lock_guard lock(mutex_);
    store_.check_open();
    Part &part = parts_[shard];
    if (!part.keys.insert(std::move(key)).second) return;
    part.unseen = true;
    WaiterSlot &slot = waiter_.slot();
    slot.waits.store(static_cast<std::uint32_t>(++pending_));
    slot.mask.fetch_or(std::uint64_t{1} << (hash >> 26));
    if (!std::exchange(part.joined, true)) set_bit(segment_.shard_waits(shard), waiter_.index());
    wake();
}

void Watch::discard(const std::string &key) {
    const std::uint32_t shard = store_.checked_hash(key) % segment_.layout().shards;
    const std::lock_guard lock(mutex_);
    const auto is_it = [&](const auto &found) { return found.second == key; };
    if (!parts_[shard].keys.erase(key) && !std::erase_if(held_, is_it)) return;
    waiter_.slot().waits.store(static_cast<std::uint32_t>(--pending_));
}

std::size_t Watch::pending() const {
    const std::lock_guard lock(mutex_);
    return pending_;
}

void Watch::stop() {
    // No lock: a finalizer may call this.
    stopped_.store(true);
    if (store_.process()->generation() == generation_) wake();
}

void Watch::wake() {
    if (waiter_.slot().word.exchange(kNotified) == kParked) futex_wake(waiter_.slot().word);
}

Outcome Watch::next(std::vector<std::string> &arrived, const Patience &patience) {
    check_ours();
    for (bool all = false;;) {
        waiter_.rearm();
        store_.check_open();
        // What is older than this is found by the round that begins here, in whatever shard it is.
        const std::uint64_t younger = segment_.header().sequence.load();
        {
            const std::lock_guard lock(mutex_);
            if (stopped_) return Outcome::Interrupted;
            for (std::uint32_t i = 0; i < parts_.size(); ++i) look(i, all, held_);
            std::sort(held_.begin(), held_.end());
            const auto end = std::ranges::lower_bound(held_, younger, {}, &Found::value_type::first);
            const auto count = static_cast<std::size_t>(end - held_.begin());
            for (std::size_t i = 0; i < count; ++i) arrived.push_back(std::move(held_[i].second));
            held_.erase(held_.begin(), end);
            waiter_.slot().waits.store(static_cast<std::uint32_t>(pending_ -= count));
            // What no longer has keys is left here, where it costs one look a round, not one for each key.
            if (pending_ == 0) waiter_.slot().mask.store(0);
            if (count) return Outcome::Done;
            if (!held_.empty()) continue;
        }
        const std::int64_t now = monotonic_ns();
        if (now >= patience.deadline) return Outcome::Absent;
        const Interrupt &interrupt = patience.interrupt;
        const std::int64_t slice = std::min(interrupt.slice_ns, Interrupt{}.slice_ns);
        all = !waiter_.park(std::min(patience.deadline, now + slice));
        if (all && interrupt.check && interrupt.check(interrupt.context)) return Outcome::Interrupted;
    }
}

void Watch::look(std::uint32_t index, bool all, Found &found) {
    Part &part = parts_[index];
    if (part.keys.empty()) {
        if (std::exchange(part.joined, false)) clear_bit(segment_.shard_waits(index), waiter_.index());
        return;
    }
    const std::uint64_t version = segment_.shard(index).version.load();
    if (!all && !part.unseen && version == part.seen) return;
    part.unseen = false;
    part.seen = version;
    const ShardTable shard(segment_, index);
    const LockMutex lock = lock_shard(segment_, index, Mode::Wait);
    std::erase_if(part.keys, [&](const std::string &key) {
        const std::uint32_t record = shard.find(segment_.hash(key), key);
        if (record) found.emplace_back(segment_.record(record).sequence, key);
        return record != 0;
    });
}

}  // namespace offgil::store::managed
