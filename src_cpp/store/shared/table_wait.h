// Waiting on the shared-state table: hand-over to waiters, and the choice that take() makes.  Part of
// table.h.
#pragma once

#include "store/shared/table.h"

namespace offgil::store {

template <class V>
Status SharedTable<V>::take(std::optional<std::string_view> topic, EntryPtr<V> &out) {
    const TopicRef<V> ref = topics_.acquire(topic);
    if (closed()) return Status::closed;
    sweep_a_little();
    return (out = pick(ref)) ? Status::ok : Status::absent;
}

template <class V>
template <class Sleep>
Status SharedTable<V>::wait(const Key &key, V &copy, Sleep &&sleep) {
    ParkedWaiter<V> waiter(key, Waiter<V>::Wants::copy);
    const Status status = wait_for_key(waiter, std::forward<Sleep>(sleep));
    if (status == Status::ok) copy = std::move(*waiter.copy);
    return status;
}

template <class V>
template <class Sleep>
Status SharedTable<V>::wait_remove(const Key &key, EntryPtr<V> &out, Sleep &&sleep) {
    ParkedWaiter<V> waiter(key, Waiter<V>::Wants::entry);
    const Status status = wait_for_key(waiter, std::forward<Sleep>(sleep));
    out = std::move(waiter.entry);
    return status;
}

template <class V>
template <class Sleep>
Status SharedTable<V>::wait_take(std::optional<std::string_view> topic, EntryPtr<V> &out, Sleep &&sleep) {
    const TopicRef<V> ref = topics_.acquire(topic);
    ParkedWaiter<V> waiter(Key({}, 0), Waiter<V>::Wants::entry);
    for (bool registered = false; !registered;) {
        if ((out = pick(ref))) return Status::ok;
        const std::lock_guard hold(ref->lock);
        if (closed()) return Status::closed;
        link_taker(*ref, &waiter);
        registered = ref->shards.load(std::memory_order_seq_cst) == 0;
        if (!registered) unlink_taker(*ref, &waiter);
    }
    const auto withdraw = [&] { unlink_taker(*ref, &waiter); };
    const Status status = sleep_registered(waiter, ref->lock, sleep, withdraw);
    out = std::move(waiter.entry);
    return status;
}

template <class V>
Status SharedTable<V>::watch(Waiter<V> &waiter) {
    Departures gone(*this);
    Shard<V> &shard = shard_of(waiter.hash);
    const std::lock_guard hold(shard.lock);
    if (closed()) return Status::closed;
    if (waiter.wants == Waiter<V>::Wants::entry) {
        const Status status = remove_locked(shard, waiter.key(), waiter.entry, true, gone);
        if (status != Status::absent) return status;
    } else if (Entry<V> *entry = find_live(shard, waiter.key(), gone)) {
        waiter.copy.emplace(entry->value);
        waiter.order = entry->order;
        shard.touch(entry);
        return Status::ok;
    }
    link_waiter(shard, &waiter);
    return Status::absent;
}

template <class V>
bool SharedTable<V>::unwatch(Waiter<V> &waiter) {
    Shard<V> &shard = shard_of(waiter.hash);
    const std::lock_guard hold(shard.lock);
    if (!waiter.linked) return false;
    unlink_waiter(shard, &waiter);
    return true;
}

/// Gives a new entry to those who wait for it: all who want a copy, then the one who may keep it.
template <class V>
void SharedTable<V>::hand_over(Shard<V> &shard, Entry<V> *entry, Departures &gone) noexcept {
    Waiter<V> *keeper = nullptr;
    if (!shard.waiters.empty()) {
        Waiter<V> *next = nullptr;
        for (auto *waiter = shard.waiters.find(Key(entry->name, entry->hash)); waiter; waiter = next) {
            next = waiter->links.newer;
            const bool keeps = waiter->wants == Waiter<V>::Wants::entry;
            if (keeps && keeper) continue;
            if (keeps)
                keeper = waiter;
            else
                waiter->copy.emplace(entry->value);
            waiter->order = entry->order;
            unlink_waiter(shard, waiter);
            gone.woken.add(waiter);
        }
    }
    Topic<V> &topic = *entry->topic;
    if (!keeper && topic.parked.load(std::memory_order_seq_cst) != 0) {
        const std::lock_guard hold(topic.lock);
        if ((keeper = topic.takers.oldest())) {
            unlink_taker(topic, keeper);
            gone.woken.add(keeper);
        }
    }
    if (!keeper) return;
    keeper->entry = hand_out(shard, entry, gone);
    shard.count.add(shard.count.takes, std::uint64_t{1});
}

template <class V>
void SharedTable<V>::link_waiter(Shard<V> &shard, Waiter<V> *waiter) {
    shard.waiters.reserve_one();
    shard.waiters.push(waiter);
    waiter->linked = true;
    parked_.fetch_add(1, std::memory_order_relaxed);
}

template <class V>
void SharedTable<V>::unlink_waiter(Shard<V> &shard, Waiter<V> *waiter) noexcept {
    shard.waiters.remove(waiter);
    waiter->linked = false;
    parked_.fetch_sub(1, std::memory_order_relaxed);
}

template <class V>
void SharedTable<V>::link_taker(Topic<V> &topic, Waiter<V> *taker) noexcept {
    topic.takers.push(taker);
    taker->linked = true;
    topic.parked.fetch_add(1, std::memory_order_seq_cst);
    parked_.fetch_add(1, std::memory_order_relaxed);
}

template <class V>
void SharedTable<V>::unlink_taker(Topic<V> &topic, Waiter<V> *taker) noexcept {
    topic.takers.remove(taker);
    taker->linked = false;
    topic.parked.fetch_sub(1, std::memory_order_relaxed);
    parked_.fetch_sub(1, std::memory_order_relaxed);
}

/// The caller forgets the waiter in its list.
template <class V>
void SharedTable<V>::refuse(Waiter<V> *waiter, WakeList<V> &woken) noexcept {
    waiter->linked = false;
    waiter->closed = true;
    parked_.fetch_sub(1, std::memory_order_relaxed);
    woken.add(waiter);
}

template <class V>
EntryPtr<V> SharedTable<V>::pick(const TopicRef<V> &topic) {
    std::uint64_t set = topic->shards.load(std::memory_order_seq_cst);
    Departures gone(*this);
    while (set) {
        const HeldShards<V> held(shards_, set);
        const std::uint64_t now = topic->shards.load(std::memory_order_seq_cst);
        if (now & ~set) {
            set |= now;
            continue;
        }
        Entry<V> *best = nullptr;
        for (std::uint64_t left = set; left; left &= left - 1) {
            const auto index = static_cast<unsigned>(std::countr_zero(left));
            drop_expired(shards_[index], kAll, gone);
            Entry<V> *first = shards_[index].first_of(topic);
            if (!first)
                topic->shards.fetch_and(~(std::uint64_t{1} << index), std::memory_order_seq_cst);
            else if (!best || first->priority > best->priority ||
                     (first->priority == best->priority && first->order < best->order))
                best = first;
        }
        if (!best) break;
        Shard<V> &shard = shard_of(best->hash);
        shard.count.add(shard.count.takes, std::uint64_t{1});
        return hand_out(shard, best, gone);
    }
    return nullptr;
}

template <class V>
template <class Sleep>
Status SharedTable<V>::wait_for_key(ParkedWaiter<V> &waiter, Sleep &&sleep) {
    const Status status = watch(waiter);
    if (status != Status::absent) return status;
    Shard<V> &shard = shard_of(waiter.hash);
    return sleep_registered(waiter, shard.lock, sleep, [&] { unlink_waiter(shard, &waiter); });
}

/// Sleeps, and withdraws the waiter (under the lock that guards it) if nobody came.
template <class V>
template <class Lock, class Sleep, class Withdraw>
Status SharedTable<V>::sleep_registered(ParkedWaiter<V> &waiter, Lock &lock, Sleep &&sleep,
                                        Withdraw &&withdraw) {
    static_assert(std::is_nothrow_invocable_r_v<bool, Sleep, Parker &>, "a registered waiter must withdraw");
    if (!sleep(waiter.parker)) {
        {
            const std::lock_guard hold(lock);
            if (waiter.linked) {
                withdraw();
                return Status::absent;
            }
        }
        // A waker has unlinked us and is on its way to wake(): a few instructions, which it does not
        // interrupt.
        while (!waiter.parker.park_until(kNever)) continue;
    }
    return waiter.closed ? Status::closed : Status::ok;
}

}  // namespace offgil::store
