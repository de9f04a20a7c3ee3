// The shared-state table: results by key, by topic and priority, and threads that wait for them.
//
// === Overview ===
//
// Keys are spread over 64 shards, each with a mutex, an index by key and, for each topic, the entries that
// take() may hand out.  A put, a get or a pop touches one shard.  The template knows no Python: V is anything
// that copies and moves without throwing, so the tests run it with plain values under the sanitizers.
//
// === Waiting ===
//
// A waiter registers under the very lock under which it saw that nothing is there, so no publication falls
// between. The publisher hands the result over: it unlinks the waiter, fills in the result and wakes it.  A
// woken thread thus takes no lock and cannot find its result gone again.  Key waiters register in the key's
// shard; takers in their topic, where the check and the registration lie under different locks.  There, both
// sides first announce and then look (sequentially consistent): the taker counts itself in Topic::parked,
// then reads Topic::shards; the publisher sets its bit in Topic::shards, then reads Topic::parked.  At least
// one of them sees the other.
//
// How a waiter sleeps is its caller's affair: every waiting call takes a function `sleep(Parker &)`, called
// with no lock held, which returns when woken or when it gives up (a timeout, a signal).  The call then
// withdraws and reports `absent`; the caller may call again.  Nothing is consumed by a call that reports
// `absent`.
//
// === Exact order in take() ===
//
// The order is over all shards, so take() holds the locks of all shards that have entries of the topic while
// it picks. Topic::shards names a superset; it is read again once they are held, and if it grew, take()
// starts over with the larger set.  At that instant nothing outside the set exists.  With a short backlog
// these are one or two locks.
//
// === Locks ===
//
// Order: shards in ascending order, then Topic::lock; apart from them the directory of topics, then
// Topic::lock.  No lock is held while a V is destroyed, a TopicRef is dropped, `sleep` runs or a waiter is
// woken: whatever leaves the table under a lock is moved into an object that was declared before the guard.
// A V is *copied* under the lock.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "store/shared/shard.h"

namespace offgil::store {

enum class Status {
    ok,
    absent,   ///< nothing there; for put: nothing stored
    present,  ///< put with if_absent found a result
    closed,
};

struct TableStats {
    std::size_t entries = 0;
    std::uint64_t puts = 0;
    std::uint64_t takes = 0;
    std::size_t waiters = 0;
};

/// Thread-safety: every member may be called from any thread, except the destructor and visit().
template <class V>
class SharedTable {
    static_assert(std::is_nothrow_copy_constructible_v<V> && std::is_nothrow_move_constructible_v<V>,
                  "values are copied and moved under a lock and half-way through updates");

  public:
    struct PutOptions {
        unsigned priority = 0;  ///< below kPriorities
        std::optional<std::string_view> topic = std::nullopt;
        bool if_absent = false;
    };

    SharedTable() = default;
    SharedTable(const SharedTable &) = delete;
    SharedTable &operator=(const SharedTable &) = delete;
    ~SharedTable() {
        for (Shard<V> &shard : shards_) shard.entries.for_each([](Entry<V> *entry) { delete entry; });
    }

    /// Replaces what is there, as a new entry at the end of its queue, unless `if_absent`.
    Status put(std::string_view key, V value, const PutOptions &options) {
        const std::size_t hash = hash_of(key);
        auto fresh = std::make_unique<Entry<V>>(key, hash, std::move(value), topics_.acquire(options.topic),
                                                options.priority);
        EntryPtr<V> replaced;
        WakeList<V> woken;
        Shard<V> &shard = shard_of(hash);
        const std::lock_guard hold(shard.lock);
        if (closed()) return Status::closed;
        Entry<V> *old = shard.entries.find(hash, key);
        if (old && options.if_absent) return Status::present;
        shard.link(fresh.get(), puts_begun_);  // the last call that may throw
        if (old) replaced = shard.unlink(old);
        shard.add(shard.puts, std::uint64_t{1});
        hand_over(shard, fresh.release(), woken);
        return Status::ok;
    }

    Status get(std::string_view key, V &copy) {
        const std::size_t hash = hash_of(key);
        std::optional<V> found;
        {
            Shard<V> &shard = shard_of(hash);
            const std::lock_guard hold(shard.lock);
            if (closed()) return Status::closed;
            if (const Entry<V> *entry = shard.entries.find(hash, key)) found.emplace(entry->value);
        }
        if (!found) return Status::absent;
        copy = std::move(*found);
        return Status::ok;
    }

    Status contains(std::string_view key) {
        const std::size_t hash = hash_of(key);
        Shard<V> &shard = shard_of(hash);
        const std::lock_guard hold(shard.lock);
        if (closed()) return Status::closed;
        return shard.entries.find(hash, key) ? Status::ok : Status::absent;
    }

    /// Removes and hands out the entry.  `counted` says whether it was consumed (and not just deleted).
    Status remove(std::string_view key, EntryPtr<V> &out, bool counted) {
        const std::size_t hash = hash_of(key);
        Shard<V> &shard = shard_of(hash);
        const std::lock_guard hold(shard.lock);
        return remove_locked(shard, hash, key, out, counted);
    }

    /// The best entry of the topic, if there is one now.
    Status take(std::optional<std::string_view> topic, EntryPtr<V> &out) {
        const TopicRef<V> ref = topics_.acquire(topic);
        if (closed()) return Status::closed;
        return (out = pick(ref)) ? Status::ok : Status::absent;
    }

    /// get, after sleeping if nothing is there.
    template <class Sleep>
    Status wait(std::string_view key, V &copy, Sleep &&sleep) {
        Waiter<V> waiter(key, hash_of(key), Waiter<V>::Wants::copy);
        const Status status = wait_for_key(waiter, std::forward<Sleep>(sleep));
        if (status == Status::ok) copy = std::move(*waiter.copy);
        return status;
    }

    /// remove, after sleeping if nothing is there.
    template <class Sleep>
    Status wait_remove(std::string_view key, EntryPtr<V> &out, Sleep &&sleep) {
        Waiter<V> waiter(key, hash_of(key), Waiter<V>::Wants::entry);
        const Status status = wait_for_key(waiter, std::forward<Sleep>(sleep));
        out = std::move(waiter.entry);
        return status;
    }

    /// take, after sleeping if nothing is there.
    template <class Sleep>
    Status wait_take(std::optional<std::string_view> topic, EntryPtr<V> &out, Sleep &&sleep) {
        const TopicRef<V> ref = topics_.acquire(topic);
        Waiter<V> waiter({}, 0, Waiter<V>::Wants::entry);
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

    /// The keys shard by shard: a key that stays throughout is listed once.
    Status keys(std::vector<std::string> &out) {
        for (Shard<V> &shard : shards_) {
            const std::lock_guard hold(shard.lock);
            if (closed()) return Status::closed;
            shard.entries.for_each([&](const Entry<V> *entry) { out.push_back(entry->name); });
        }
        return Status::ok;
    }

    Status clear() {
        for (Shard<V> &shard : shards_) {
            Drained<V> drained;
            const std::lock_guard hold(shard.lock);
            if (closed()) return Status::closed;
            shard.drain(drained);
        }
        return Status::ok;
    }

    /// Drops all entries and wakes all waiters with Status::closed.  Idempotent.
    void close() {
        closed_.store(true, std::memory_order_seq_cst);
        for (Shard<V> &shard : shards_) {
            Drained<V> drained;
            WakeList<V> woken;
            const std::lock_guard hold(shard.lock);
            shard.drain(drained);
            shard.waiters.for_each([&](Waiter<V> *waiter) { refuse(waiter, woken); });
            shard.waiters.reset();
        }
        WakeList<V> woken;
        topics_.for_each([&](Topic<V> &topic) {
            const std::lock_guard hold(topic.lock);
            while (Waiter<V> *taker = topic.takers.oldest()) {
                topic.takers.remove(taker);
                refuse(taker, woken);
            }
            topic.parked.store(0, std::memory_order_relaxed);
        });
    }

    bool closed() const noexcept { return closed_.load(std::memory_order_seq_cst); }

    std::size_t size() const noexcept { return stats().entries; }

    /// Read without a lock: each counter is right, their sum over the shards is of no single instant.
    TableStats stats() const noexcept {
        TableStats total;
        for (const Shard<V> &shard : shards_) {
            total.entries += shard.size.load(std::memory_order_relaxed);
            total.puts += shard.puts.load(std::memory_order_relaxed);
            total.takes += shard.takes.load(std::memory_order_relaxed);
        }
        total.waiters = parked_.load(std::memory_order_relaxed);
        return total;
    }

    /// Calls `fn(const V &)` for each value, without a lock: for a caller that knows that no other thread is
    /// inside.
    template <class Fn>
    void visit(Fn &&fn) const {
        for (const Shard<V> &shard : shards_)
            shard.entries.for_each([&](const Entry<V> *entry) { fn(entry->value); });
    }

  private:
    static std::size_t hash_of(std::string_view key) noexcept { return std::hash<std::string_view>{}(key); }
    Shard<V> &shard_of(std::size_t hash) noexcept { return shards_[shard_index(hash)]; }

    // From here to hand_over: the caller holds the lock of the shard that is passed.

    Status remove_locked(Shard<V> &shard, std::size_t hash, std::string_view key, EntryPtr<V> &out,
                         bool counted) {
        if (closed()) return Status::closed;
        Entry<V> *entry = shard.entries.find(hash, key);
        if (!entry) return Status::absent;
        out = shard.unlink(entry);
        if (counted) shard.add(shard.takes, std::uint64_t{1});
        return Status::ok;
    }

    /// Gives a new entry to those who wait for it: all who want a copy, then the one who may keep it.
    void hand_over(Shard<V> &shard, Entry<V> *entry, WakeList<V> &woken) noexcept {
        Waiter<V> *keeper = nullptr;
        if (!shard.waiters.empty()) {
            Waiter<V> *next = nullptr;
            for (auto *waiter = shard.waiters.find(entry->hash, entry->name); waiter; waiter = next) {
                next = shard.waiters.find_next(waiter);
                const bool keeps = waiter->wants == Waiter<V>::Wants::entry;
                if (keeps && keeper) continue;
                if (keeps)
                    keeper = waiter;
                else
                    waiter->copy.emplace(entry->value);
                unlink_waiter(shard, waiter);
                woken.add(waiter);
            }
        }
        Topic<V> &topic = *entry->topic;
        if (!keeper && topic.parked.load(std::memory_order_seq_cst) != 0) {
            const std::lock_guard hold(topic.lock);
            if ((keeper = topic.takers.oldest())) {
                unlink_taker(topic, keeper);
                woken.add(keeper);
            }
        }
        if (!keeper) return;
        keeper->entry = shard.unlink(entry);
        shard.add(shard.takes, std::uint64_t{1});
    }

    void unlink_waiter(Shard<V> &shard, Waiter<V> *waiter) noexcept {
        shard.waiters.remove(waiter);
        waiter->linked = false;
        parked_.fetch_sub(1, std::memory_order_relaxed);
    }

    // The next two: the caller holds the topic's lock.

    void link_taker(Topic<V> &topic, Waiter<V> *taker) noexcept {
        topic.takers.push(taker);
        taker->linked = true;
        topic.parked.fetch_add(1, std::memory_order_seq_cst);
        parked_.fetch_add(1, std::memory_order_relaxed);
    }

    void unlink_taker(Topic<V> &topic, Waiter<V> *taker) noexcept {
        topic.takers.remove(taker);
        taker->linked = false;
        topic.parked.fetch_sub(1, std::memory_order_relaxed);
        parked_.fetch_sub(1, std::memory_order_relaxed);
    }

    /// The caller holds the lock that guards the waiter, and forgets it in its list.
    void refuse(Waiter<V> *waiter, WakeList<V> &woken) noexcept {
        waiter->linked = false;
        waiter->closed = true;
        parked_.fetch_sub(1, std::memory_order_relaxed);
        woken.add(waiter);
    }

    EntryPtr<V> pick(const TopicRef<V> &topic) {
        std::uint64_t set = topic->shards.load(std::memory_order_seq_cst);
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
                Entry<V> *first = shards_[index].first_of(topic);
                if (!first)
                    topic->shards.fetch_and(~(std::uint64_t{1} << index), std::memory_order_seq_cst);
                else if (!best || first->priority > best->priority ||
                         (first->priority == best->priority && first->order < best->order))
                    best = first;
            }
            if (!best) break;
            Shard<V> &shard = shard_of(best->hash);
            shard.add(shard.takes, std::uint64_t{1});
            return shard.unlink(best);
        }
        return nullptr;
    }

    template <class Sleep>
    Status wait_for_key(Waiter<V> &waiter, Sleep &&sleep) {
        Shard<V> &shard = shard_of(waiter.hash);
        {
            const std::lock_guard hold(shard.lock);
            if (closed()) return Status::closed;
            if (waiter.wants == Waiter<V>::Wants::entry) {
                const Status status = remove_locked(shard, waiter.hash, waiter.name, waiter.entry, true);
                if (status != Status::absent) return status;
            } else if (const Entry<V> *entry = shard.entries.find(waiter.hash, waiter.name)) {
                waiter.copy.emplace(entry->value);
                return Status::ok;
            }
            shard.waiters.reserve_one();
            shard.waiters.insert(&waiter);
            waiter.linked = true;
            parked_.fetch_add(1, std::memory_order_relaxed);
        }
        return sleep_registered(waiter, shard.lock, sleep, [&] { unlink_waiter(shard, &waiter); });
    }

    /// Sleeps, and withdraws the waiter (under the lock that guards it) if nobody came.
    template <class Sleep, class Withdraw>
    Status sleep_registered(Waiter<V> &waiter, std::mutex &lock, Sleep &&sleep, Withdraw &&withdraw) {
        static_assert(std::is_nothrow_invocable_r_v<bool, Sleep, Parker &>,
                      "a registered waiter must withdraw");
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
            while (!waiter.parker.park_until(Parker::never)) continue;
        }
        return waiter.closed ? Status::closed : Status::ok;
    }

    Shards<V> shards_;
    Topics<V> topics_;
    std::atomic<bool> closed_{false};
    alignas(64) std::atomic<std::uint64_t> puts_begun_{0};  ///< the source of Entry::order
    alignas(64) std::atomic<std::size_t> parked_{0};        ///< waiting calls, for stats()
};

}  // namespace offgil::store
