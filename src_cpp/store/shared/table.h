// The shared-state table: results by key, by topic and priority, and threads that wait for them.
//
// === Overview ===
//
// Keys are spread over 64 shards, each with a mutex, an index by key and, for each topic, the entries that
// take() may hand out.  A put, a get or a pop touches one shard.  The template knows no Python: V is anything
// that copies and moves without throwing, so the tests run it with plain values under the sanitizers.
// table_put.h has the way into the table, table_wait.h the waiting, this file the rest.
//
// === Waiting ===
//
// A waiter registers under the very lock under which it saw that nothing is there, so no publication falls
// between.  The publisher hands the result over: it unlinks the waiter, fills in the result and wakes it.  A
// woken thread thus takes no lock and cannot find its result gone again.  Key waiters register in the key's
// shard; takers in their topic, where the check and the registration lie under different locks.  There, both
// sides first announce and then look (sequentially consistent): the taker counts itself in Topic::parked,
// then reads Topic::shards; the publisher sets its bit in Topic::shards, then reads Topic::parked.  At least
// one of them sees the other.
//
// How a waiter sleeps is its caller's affair: every waiting call takes a function `sleep(Parker &)`, called
// with no lock held, which returns when woken or when it gives up (a timeout, a signal).  The call then
// withdraws and reports `absent`; the caller may call again.  Nothing is consumed by a call that reports
// `absent`.  Who waits without a call of its own (a future, a task, an iterator over many keys) derives from
// Waiter, and uses watch() and unwatch().
//
// === Expiry ===
//
// An entry whose time is over is as absent to whoever meets it, and the memory of those that nobody meets is
// released by later calls: each put, pop and take looks into one shard more, in turn, and drops up to four
// entries there that the shard's heap has on top.  Calls that must know all (len, keys, a snapshot, a put
// that finds no room) drop all of them.
//
// === Bounds ===
//
// Room counts what is in the table, under a lock of its own; a table without bounds pays one branch for it.
// Room for an entry is taken before it is published, under its shard's lock, and given back after it left and
// that lock was released: so the count is never below the truth.
//
// === Exact order in take() ===
//
// The order is over all shards, so take() holds the locks of all shards that have entries of the topic while
// it picks.  Topic::shards names a superset; it is read again once they are held, and if it grew, take()
// starts over with the larger set.  At that instant nothing outside the set exists.  With a short backlog
// these are one or two locks.  Each shard begins to queue entries without a topic when take() first asks it.
//
// === Locks ===
//
// Order: shards in ascending order, then Topic::lock or Room's; apart from them the directory of topics, then
// Topic::lock.  No lock is held while a V is destroyed, a TopicRef is dropped, `sleep` runs or a waiter is
// woken: whatever leaves the table under a lock is moved into an object that was declared before the guard.
// A V is *copied* under the lock.
#pragma once

#include <algorithm>
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
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "store/shared/room.h"
#include "store/shared/shard.h"

namespace offgil::store {

enum class Status {
    ok,
    absent,   ///< nothing there; for put: nothing stored
    present,  ///< put with if_absent found a result
    full,     ///< put found no room, or none before it gave up
    closed,
};

/// What a put that waits for room hears from its `sleep`.
enum class Nap { woken, due, gave_up };

struct TableStats {
    std::size_t entries = 0;
    std::size_t bytes = 0;
    std::uint64_t puts = 0;
    std::uint64_t takes = 0;
    std::uint64_t expired = 0;
    std::uint64_t evicted = 0;
    std::size_t waiters = 0;
    std::size_t blocked = 0;
};

/// One entry as snapshot() saw it.
template <class V>
struct Sighting : EntryInfo {
    Sighting(const Entry<V> &entry, std::optional<std::string> topic_name)
        : EntryInfo(entry), key(entry.name), topic(std::move(topic_name)), value(entry.value) {}

    std::string key;
    std::optional<std::string> topic;
    V value;
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
        std::size_t size = 0;
        Time expires = kNever;
        std::uint64_t producer = 0;
    };

    explicit SharedTable(const Bounds &bounds = {}, bool measured = false) : room_(bounds, measured) {
        for (Shard<V> &shard : shards_) shard.tracks_use = bounds.on_full == OnFull::evict;
    }
    SharedTable(const SharedTable &) = delete;
    SharedTable &operator=(const SharedTable &) = delete;
    ~SharedTable() {
        for (Shard<V> &shard : shards_) shard.entries.for_each([](Entry<V> *entry) { delete entry; });
    }

    const Bounds &bounds() const noexcept { return room_.bounds(); }

    // === table_put.h ===

    /// Replaces what is there, as a new entry at the end of its queue, unless `if_absent`.  Where puts wait
    /// for room, `sleep(Parker &, Time due)` sleeps until woken, until `due` or until it gives up; else it is
    /// never called.
    template <class Sleep>
    Status put(const Key &key, V value, const PutOptions &options, Sleep &&sleep);

    /// For a table whose puts do not wait.
    Status put(const Key &key, V value, const PutOptions &options) {
        return put(key, std::move(value), options, [](Parker &, Time) noexcept { return Nap::gave_up; });
    }

    /// A put without topic and time to live that only replaces a value, and therefore makes no entry; `value`
    /// gets the old one.  False if there is more to do: then nothing has changed.
    bool renew(const Key &key, V &value, std::uint64_t producer, unsigned priority = 0,
               std::size_t size = 0) noexcept;

    // === table_wait.h ===

    /// The best entry of the topic, if there is one now.
    Status take(std::optional<std::string_view> topic, EntryPtr<V> &out);

    /// get, after sleeping if nothing is there.
    template <class Sleep>
    Status wait(const Key &key, V &copy, Sleep &&sleep);

    /// remove, after sleeping if nothing is there.
    template <class Sleep>
    Status wait_remove(const Key &key, EntryPtr<V> &out, Sleep &&sleep);

    /// take, after sleeping if nothing is there.
    template <class Sleep>
    Status wait_take(std::optional<std::string_view> topic, EntryPtr<V> &out, Sleep &&sleep);

    /// `ok`: the result is in the waiter.  `absent`: it is registered, and deliver() will be called, unless
    /// unwatch() succeeds before that.
    Status watch(Waiter<V> &waiter);

    /// False if a waker was faster.
    bool unwatch(Waiter<V> &waiter);

    // === here ===

    /// `touch`: whether it counts as use.  `copy` is empty before, since what it held would be dropped under
    /// a lock.
    Status get(const Key &key, V &copy, bool touch = true) {
        {
            Shard<V> &shard = shard_of(key.hash);
            const std::lock_guard hold(shard.lock);
            if (closed()) return Status::closed;
            Entry<V> *entry = shard.entries.find(key);
            if (!entry) return Status::absent;
            if (!entry->expired()) [[likely]] {
                copy = V(entry->value);
                if (touch) shard.touch(entry);
                return Status::ok;
            }
        }
        contains(key);  // releases what has expired
        return Status::absent;
    }

    Status contains(const Key &key) {
        Departures out(*this);
        Shard<V> &shard = shard_of(key.hash);
        const std::lock_guard hold(shard.lock);
        if (closed()) return Status::closed;
        return find_live(shard, key, out) ? Status::ok : Status::absent;
    }

    /// `counted`: whether it counts as a take.
    Status remove(const Key &key, EntryPtr<V> &out, bool counted) {
        sweep_a_little();
        Departures gone(*this);
        Shard<V> &shard = shard_of(key.hash);
        const std::lock_guard hold(shard.lock);
        return remove_locked(shard, key, out, counted, gone);
    }

    /// The keys shard by shard: a key that stays throughout is listed once.
    Status keys(std::vector<std::string> &out) {
        for (Shard<V> &shard : shards_) {
            Departures gone(*this);
            const std::lock_guard hold(shard.lock);
            if (closed()) return Status::closed;
            drop_expired(shard, kAll, gone);
            shard.entries.for_each([&](const Entry<V> *entry) { out.push_back(entry->name); });
        }
        return Status::ok;
    }

    /// All entries as they were at one instant: it holds the locks of all shards.
    Status snapshot(std::vector<Sighting<V>> &out) {
        Departures gone(*this);
        const HeldShards<V> held(shards_, kAllShards);
        if (closed()) return Status::closed;
        for (Shard<V> &shard : shards_) {
            drop_expired(shard, kAll, gone);
            shard.entries.for_each([&](const Entry<V> *entry) {
                out.emplace_back(*entry,
                                 entry->topic.named() ? std::optional(entry->topic->name) : std::nullopt);
            });
        }
        return Status::ok;
    }

    std::size_t size() noexcept {
        sweep();
        return stats().entries;
    }

    Status clear() {
        for (Shard<V> &shard : shards_) {
            Departures gone(*this);
            const std::lock_guard hold(shard.lock);
            if (closed()) return Status::closed;
            drain(shard, gone);
        }
        return Status::ok;
    }

    /// Drops all entries and wakes all waiters with Status::closed.  Idempotent.
    void close() {
        closed_.store(true, std::memory_order_seq_cst);
        for (Shard<V> &shard : shards_) {
            Departures gone(*this);
            const std::lock_guard hold(shard.lock);
            drain(shard, gone);
            shard.waiters.for_each([&](Waiter<V> *waiter) { refuse(waiter, gone.woken); });
            shard.waiters.reset();
        }
        room_.wake_all();
        WakeList<V> woken;
        topics_.for_each([&](Topic<V> &topic) {
            const std::lock_guard hold(topic.lock);
            while (Waiter<V> *taker = topic.takers.pop()) refuse(taker, woken);
            topic.parked.store(0, std::memory_order_relaxed);
        });
    }

    bool closed() const noexcept { return closed_.load(std::memory_order_seq_cst); }

    /// Read without a lock: each counter is right, their sum over the shards is of no single instant.
    TableStats stats() const noexcept {
        TableStats total;
        for (const Shard<V> &shard : shards_) {
            total.entries += shard.count.entries.load(std::memory_order_relaxed);
            total.puts += shard.count.puts.load(std::memory_order_relaxed);
            total.takes += shard.count.takes.load(std::memory_order_relaxed);
            total.expired += shard.count.expired.load(std::memory_order_relaxed);
            total.evicted += shard.count.evicted.load(std::memory_order_relaxed);
        }
        total.bytes = room_.bytes();
        total.waiters = parked_.load(std::memory_order_relaxed);
        total.blocked = room_.waiting();
        return total;
    }

    /// Calls `value(const V &)` for each value and `waiter(Waiter<V> &)` for each that waits for a key,
    /// without a lock: for a caller that knows that no other thread is inside.  `waiter` may free what it is
    /// given.
    template <class Value, class Wait>
    void visit(Value &&value, Wait &&waiter) const {
        for (const Shard<V> &shard : shards_) {
            shard.entries.for_each([&](const Entry<V> *entry) { value(entry->value); });
            shard.waiters.for_each([&](Waiter<V> *each) { waiter(*each); });
        }
    }

  private:
    static constexpr std::size_t kAll = ~std::size_t{0};

    Shard<V> &shard_of(std::size_t hash) noexcept { return shards_[shard_index(hash)]; }

    /// What a call owes others; declared before the guard, so that it is paid when the lock is gone.  Last
    /// member first: room before waiters, and foreign code (of waiters, of values) sees the call's effects
    /// complete.
    struct Departures {
        explicit Departures(SharedTable &table) noexcept : room(table.room_) {}
        Drained<V> entries;
        WakeList<V> woken;
        RoomReturn room;
    };

    // The next seven: the caller holds the lock of the shard that is passed.

    void unlink(Shard<V> &shard, Entry<V> *entry) noexcept {
        if (entry->mortal()) mortals_.fetch_sub(1, std::memory_order_relaxed);
        shard.unlink(entry);
    }

    /// The entry leaves the table for its new owner.
    EntryPtr<V> hand_out(Shard<V> &shard, Entry<V> *entry, Departures &gone) noexcept {
        unlink(shard, entry);
        gone.room.add(entry->size);
        return EntryPtr<V>(entry);
    }

    void drop(Shard<V> &shard, Entry<V> *entry, Departures &gone) noexcept {
        gone.entries.add(hand_out(shard, entry, gone).release());
    }

    Entry<V> *find_live(Shard<V> &shard, const Key &key, Departures &gone) noexcept {
        Entry<V> *entry = shard.entries.find(key);
        if (!entry || !entry->expired()) return entry;
        shard.count.add(shard.count.expired, std::uint64_t{1});
        drop(shard, entry, gone);
        return nullptr;
    }

    std::size_t drop_expired(Shard<V> &shard, std::size_t limit, Departures &gone) noexcept {
        if (shard.mortal.empty()) return 0;
        const Time now = Clock::now();
        std::size_t dropped = 0;
        for (; dropped < limit && !shard.mortal.empty() && shard.mortal.first()->expires <= now; ++dropped)
            drop(shard, shard.mortal.first(), gone);
        shard.count.add(shard.count.expired, std::uint64_t{dropped});
        return dropped;
    }

    Status remove_locked(Shard<V> &shard, const Key &key, EntryPtr<V> &out, bool counted, Departures &gone) {
        if (closed()) return Status::closed;
        Entry<V> *entry = find_live(shard, key, gone);
        if (!entry) return Status::absent;
        out = hand_out(shard, entry, gone);
        if (counted) shard.count.add(shard.count.takes, std::uint64_t{1});
        return Status::ok;
    }

    void drain(Shard<V> &shard, Departures &gone) noexcept {
        shard.drain([&](Entry<V> *entry) {
            if (entry->mortal()) mortals_.fetch_sub(1, std::memory_order_relaxed);
            gone.room.add(entry->size);
            gone.entries.add(entry);
        });
    }

    // table_put.h
    void sweep_a_little() noexcept;
    std::size_t sweep() noexcept;
    bool evict_one() noexcept;
    Time next_expiry() noexcept;
    Status publish(EntryPtr<V> &draft, bool if_absent, bool in_service, Seeker *seeker);
    template <class Sleep>
    Nap await_room(Seeker &seeker, Sleep &&sleep);

    // table_wait.h; up to `refuse` the caller holds the lock that guards the waiter.
    void hand_over(Shard<V> &shard, Entry<V> *entry, Departures &gone) noexcept;
    void link_waiter(Shard<V> &shard, Waiter<V> *waiter);
    void unlink_waiter(Shard<V> &shard, Waiter<V> *waiter) noexcept;
    void link_taker(Topic<V> &topic, Waiter<V> *taker) noexcept;
    void unlink_taker(Topic<V> &topic, Waiter<V> *taker) noexcept;
    void refuse(Waiter<V> *waiter, WakeList<V> &woken) noexcept;
    EntryPtr<V> pick(const TopicRef<V> &topic);
    template <class Sleep>
    Status wait_for_key(ParkedWaiter<V> &waiter, Sleep &&sleep);
    template <class Lock, class Sleep, class Withdraw>
    Status sleep_registered(ParkedWaiter<V> &waiter, Lock &lock, Sleep &&sleep, Withdraw &&withdraw);

    Shards<V> shards_;
    Topics<V> topics_;
    Room room_;
    std::atomic<bool> closed_{false};
    alignas(64) Sequence<V> order_;                   ///< the source of Entry::order
    alignas(64) std::atomic<std::size_t> parked_{0};  ///< waiters, for stats()
    std::atomic<std::size_t> mortals_{0};             ///< entries that expire some time
    std::atomic<unsigned> sweep_cursor_{0};           ///< the shard that the next call looks into
};

}  // namespace offgil::store

#include "store/shared/table_put.h"
#include "store/shared/table_wait.h"
