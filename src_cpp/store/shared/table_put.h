// The way into the shared-state table: publication, and room for it.  Part of table.h.
#pragma once

#include "store/shared/table.h"

namespace offgil::store {

template <class V>
template <class Sleep>
Status SharedTable<V>::put(const Key &key, V value, const PutOptions &options, Sleep &&sleep) {
    static_assert(std::is_nothrow_invocable_r_v<Nap, Sleep, Parker &, Time>, "a queued seeker must withdraw");
    if (!options.topic && !options.if_absent && options.expires == kNever &&
        renew(key, value, options.producer, options.priority, options.size))
        return Status::ok;
    sweep_a_little();
    const EntryInfo info{options.expires, options.priority, options.size, options.producer, recently()};
    EntryPtr<V> entry(new Entry<V>(key, std::move(value), topics_.acquire(options.topic), info));
    Status status = publish(entry, options.if_absent, false, nullptr);
    if (status != Status::full || info.size > bounds().bytes) return status;
    const OnFull policy = bounds().on_full;
    Service service(room_);
    do {
        if (sweep() == 0) {
            if (policy == OnFull::raise) return Status::full;
            // Nothing to evict, yet no room: another thread has taken the last and not given it back yet.
            if (policy == OnFull::evict && !evict_one()) std::this_thread::yield();
        }
        if (policy == OnFull::block) {
            Seeker seeker;
            status = publish(entry, options.if_absent, service.active, &seeker);
            if (status != Status::full) return status;
            service.active = false;
            const Nap nap = await_room(seeker, sleep);
            service.active = nap == Nap::woken;
            if (nap == Nap::gave_up) return Status::full;
        }
        status = publish(entry, options.if_absent, service.active, nullptr);
    } while (status == Status::full);
    return status;
}

/// `woken`: the seeker is in service.
template <class V>
template <class Sleep>
Nap SharedTable<V>::await_room(Seeker &seeker, Sleep &&sleep) {
    for (;;) {
        const Nap nap = sleep(seeker.parker, next_expiry());
        if (nap == Nap::woken) return nap;
        if (nap == Nap::due) {
            sweep();  // which wakes the first in the queue
            continue;
        }
        if (room_.withdraw(seeker)) return nap;
        // A waker is on its way to wake(): a few instructions, which it does not interrupt.
        while (!seeker.parker.park_until(kNever)) continue;
        room_.pass_on();
        return nap;
    }
}

/// Nobody can be waiting for what is published here: a key that has an entry has no waiters, and a topic that
/// has one has no takers.
template <class V>
bool SharedTable<V>::renew(const Key &key, V &value, std::uint64_t producer, unsigned priority,
                           std::size_t size) noexcept {
    sweep_a_little();
    const Time created = recently();
    RoomReturn room(room_);
    Shard<V> &shard = shard_of(key.hash);
    const std::lock_guard hold(shard.lock);
    Entry<V> *entry = shard.entries.find(key);
    if (!entry || entry->topic.named() || entry->mortal() || closed()) return false;
    if (room_.counted()) {
        if (!room_.take(size, true, entry->size, false, nullptr)) return false;
        if (size < entry->size) room.look();
    }
    shard.count.add(shard.count.puts, std::uint64_t{1});
    if (shard.queues) shard.nameless.remove(entry);
    std::swap(entry->value, value);
    entry->priority = priority;
    entry->size = size;
    entry->producer = producer;
    entry->created = created;
    entry->order = order_.next();
    if (shard.queues) shard.nameless.push(entry);
    shard.touch(entry);
    return true;
}

/// One try.  `full`: nothing changed but that `seeker`, if given, is queued.
template <class V>
Status SharedTable<V>::publish(EntryPtr<V> &draft, bool if_absent, bool in_service, Seeker *seeker) {
    Departures gone(*this);
    Shard<V> &shard = shard_of(draft->hash);
    const std::lock_guard hold(shard.lock);
    if (closed()) return Status::closed;
    // An expired entry is replaced like any other: its room is what the new one takes.
    Entry<V> *old = shard.entries.find(*draft);
    const bool stale = old && old->expired();
    if (old && if_absent && !stale) return Status::present;
    const std::size_t replaced = old ? old->size : 0;
    shard.prepare(*draft);  // the last call that may throw
    if (room_.counted() && !room_.take(draft->size, old != nullptr, replaced, in_service, seeker)) {
        shard.unprepare(*draft);
        return Status::full;
    }
    if (draft->size < replaced) gone.room.look();
    shard.count.add(shard.count.puts, std::uint64_t{1});
    Entry<V> *entry = draft.release();
    shard.link(entry, old, order_);
    if (entry->mortal()) {
        mortals_.fetch_add(1, std::memory_order_relaxed);
        gone.room.look();  // who waits for room may now have an expiry to wait for
    }
    if (old) {
        if (old->mortal()) mortals_.fetch_sub(1, std::memory_order_relaxed);
        gone.entries.add(old);
        if (stale) shard.count.add(shard.count.expired, std::uint64_t{1});
    }
    hand_over(shard, entry, gone);
    return Status::ok;
}

/// Releases a few expired entries, wherever they are, on behalf of those that nobody asks for again.
template <class V>
void SharedTable<V>::sweep_a_little() noexcept {
    if (mortals_.load(std::memory_order_relaxed) == 0) return;
    Departures gone(*this);
    Shard<V> &shard = shards_[sweep_cursor_.fetch_add(1, std::memory_order_relaxed) % kShards];
    const std::lock_guard hold(shard.lock);
    drop_expired(shard, 4, gone);
}

/// Releases all expired entries; returns their number.
template <class V>
std::size_t SharedTable<V>::sweep() noexcept {
    if (mortals_.load(std::memory_order_relaxed) == 0) return 0;
    std::size_t dropped = 0;
    for (Shard<V> &shard : shards_) {
        Departures gone(*this);
        const std::lock_guard hold(shard.lock);
        dropped += drop_expired(shard, kAll, gone);
    }
    return dropped;
}

/// Drops the entry that was used least recently.  False if there is none.
template <class V>
bool SharedTable<V>::evict_one() noexcept {
    Departures gone(*this);
    Shard<V> *stalest = nullptr;
    Time::rep oldest = kNever.time_since_epoch().count();
    for (Shard<V> &shard : shards_)
        if (const Time::rep use = shard.oldest_use.load(std::memory_order_relaxed); use < oldest) {
            oldest = use;
            stalest = &shard;
        }
    if (!stalest) return false;
    const std::lock_guard hold(stalest->lock);
    Entry<V> *victim = stalest->recency.oldest();
    if (!victim) return false;
    stalest->count.add(stalest->count.evicted, std::uint64_t{1});
    drop(*stalest, victim, gone);
    return true;
}

/// When the next entry expires, or kNever.
template <class V>
Time SharedTable<V>::next_expiry() noexcept {
    Time next = kNever;
    if (mortals_.load(std::memory_order_relaxed) == 0) return next;
    for (Shard<V> &shard : shards_) {
        const std::lock_guard hold(shard.lock);
        if (!shard.mortal.empty()) next = std::min(next, shard.mortal.first()->expires);
    }
    return next;
}

}  // namespace offgil::store
