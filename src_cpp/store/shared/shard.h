// One shard of the shared-state table.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "store/shared/entry.h"
#include "store/shared/expiry.h"
#include "store/shared/hash_index.h"
#include "store/shared/lock.h"
#include "store/shared/waiter.h"

namespace offgil::store {

inline constexpr unsigned kShards = 64;

inline unsigned shard_index(std::size_t hash) noexcept {
    static_assert(sizeof(std::size_t) == 8 && kShards == 64, "the top six bits of a hash choose the shard");
    return static_cast<unsigned>(hash >> 58);
}

/// Counters that the holder of a shard's lock writes and anyone reads.
struct ShardCounters {
    std::atomic<std::uint64_t> puts{0};
    std::atomic<std::size_t> entries{0};
    std::atomic<std::uint64_t> takes{0};
    std::atomic<std::uint64_t> expired{0};
    std::atomic<std::uint64_t> evicted{0};

    /// There is one writer at a time, so this needs no locked instruction.
    template <class T>
    static void add(std::atomic<T> &counter, T n) noexcept {
        counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }
};

/// `lock` guards all members; the atomics are written under it and read without it.  Every function expects
/// that the caller holds it.  What each get and put needs comes first, side by side.
///
/// The entries without a topic are queued from the first take() on.  Programs that only look keys up do not
/// pay for the links, which lie in the cache lines of other entries, perhaps of other threads.
template <class V>
struct alignas(64) Shard {
    using Queue = PriorityFifo<Entry<V>, &Entry<V>::queue>;

    typename ShardLock<V>::type lock;
    bool tracks_use = false;      ///< constant: whether `recency` is kept
    bool queues = false;          ///< whether `nameless` is kept
    HashIndex<Entry<V>> entries;  ///< owns them
    ShardCounters count;
    KeyWaiters<V> waiters;
    Queue nameless;  ///< the entries without a topic
    std::unordered_map<const Topic<V> *, Queue> named;
    ExpiryHeap<Entry<V>> mortal;                 ///< the entries that expire
    Fifo<Entry<V>, &Entry<V>::recency> recency;  ///< all entries, the least recently used first
    std::atomic<Time::rep> oldest_use{kNever.time_since_epoch().count()};  ///< of the first of `recency`

    /// Makes place for the entry.  If it throws, nothing changed.
    void prepare(const Entry<V> &entry) {
        entries.reserve_one();
        if (entry.mortal()) mortal.reserve_one();
        if (entry.topic.named()) named.try_emplace(&*entry.topic);
    }

    /// The prepared entry does not come.
    void unprepare(const Entry<V> &entry) noexcept {
        if (!entry.topic.named()) return;
        if (const auto it = named.find(&*entry.topic); it->second.empty()) named.erase(it);
    }

    /// Publishes the prepared entry, in the place of `old` if there is one, which the caller owns from here
    /// on.
    void link(Entry<V> *entry, Entry<V> *old, Sequence<V> &order) noexcept {
        Topic<V> &topic = *entry->topic;
        if (old)
            entries.replace(old, entry);
        else
            entries.insert(entry);
        // Drawn under the lock: a put that began after another one returned comes after it in every queue.
        entry->order = order.next();
        if (entry->topic.named())
            named.find(&topic)->second.push(entry);
        else if (queues)
            nameless.push(entry);
        if (entry->mortal()) mortal.push(entry);
        if (tracks_use) {
            entry->used = Clock::now();
            recency.push(entry);
            note_oldest_use();
        }
        if (old)
            leave_queues(old);
        else
            count.add<std::size_t>(count.entries, 1);
        const std::uint64_t bit = std::uint64_t{1} << shard_index(entry->hash);
        if (!(topic.shards.load(std::memory_order_seq_cst) & bit))
            topic.shards.fetch_or(bit, std::memory_order_seq_cst);
    }

    /// The caller owns the entry from here on.
    void unlink(Entry<V> *entry) noexcept {
        entries.remove(entry);
        leave_queues(entry);
        count.add<std::size_t>(count.entries, std::size_t{0} - 1);
    }

    void touch(Entry<V> *entry) noexcept {
        if (!tracks_use) return;
        recency.remove(entry);
        entry->used = Clock::now();
        recency.push(entry);
        note_oldest_use();
    }

    Entry<V> *first_of(const TopicRef<V> &topic) {
        if (!topic.named()) {
            if (!queues) begin_to_queue();
            return nameless.empty() ? nullptr : nameless.first();
        }
        const auto it = named.find(&*topic);
        return it == named.end() ? nullptr : it->second.first();
    }

    /// Leaves the bits in Topic::shards set: they are hints.
    template <class Fn>
    void drain(Fn &&each) noexcept {
        entries.for_each(each);
        entries.reset();
        nameless = Queue();
        named.clear();
        mortal.reset();
        recency = {};
        note_oldest_use();
        count.entries.store(0, std::memory_order_relaxed);
    }

  private:
    void begin_to_queue() {
        std::vector<Entry<V> *> found;
        found.reserve(entries.size());
        entries.for_each([&](Entry<V> *entry) {
            if (!entry->topic.named()) found.push_back(entry);
        });
        std::ranges::sort(found, {}, [](const Entry<V> *entry) { return entry->order; });
        for (Entry<V> *entry : found) nameless.push(entry);
        queues = true;
    }

    void leave_queues(Entry<V> *entry) noexcept {
        if (entry->topic.named()) {
            const auto it = named.find(&*entry->topic);
            it->second.remove(entry);
            if (it->second.empty()) named.erase(it);
        } else if (queues) {
            nameless.remove(entry);
        }
        if (entry->mortal()) mortal.remove(entry);
        if (tracks_use) {
            recency.remove(entry);
            note_oldest_use();
        }
    }

    void note_oldest_use() noexcept {
        const Time first = recency.empty() ? kNever : recency.oldest()->used;
        oldest_use.store(first.time_since_epoch().count(), std::memory_order_relaxed);
    }
};

template <class V>
using Shards = std::array<Shard<V>, kShards>;

inline constexpr std::uint64_t kAllShards = ~std::uint64_t{0};

/// Holds the locks of the shards named by a set of bits, taken in ascending order.
template <class V>
class HeldShards {
  public:
    HeldShards(Shards<V> &shards, std::uint64_t set) : shards_(shards), set_(set) {
        for (std::uint64_t left = set_; left; left &= left - 1) lowest(left).lock.lock();
    }
    HeldShards(const HeldShards &) = delete;
    HeldShards &operator=(const HeldShards &) = delete;
    ~HeldShards() {
        for (std::uint64_t left = set_; left; left &= left - 1) lowest(left).lock.unlock();
    }

  private:
    Shard<V> &lowest(std::uint64_t set) { return shards_[static_cast<unsigned>(std::countr_zero(set))]; }

    Shards<V> &shards_;
    const std::uint64_t set_;
};

}  // namespace offgil::store
