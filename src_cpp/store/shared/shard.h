// One shard of the shared-state table.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "store/shared/entry.h"
#include "store/shared/hash_index.h"

namespace offgil::store {

inline constexpr unsigned kShards = 64;

inline unsigned shard_index(std::size_t hash) noexcept {
    static_assert(sizeof(std::size_t) == 8 && kShards == 64, "the top six bits of a hash choose the shard");
    return static_cast<unsigned>(hash >> 58);
}

/// Entries that left the table; destroyed by the destructor, which therefore runs when the lock is gone.
template <class V>
struct Drained {
    Entry<V> *first = nullptr;
    ~Drained() {
        while (first) {
            const EntryPtr<V> entry(first);
            first = entry->next_in_bucket;
        }
    }
};

/// `lock` guards all members; the counters are written under it and read without it.  Every function expects
/// that the caller holds it.
template <class V>
struct alignas(64) Shard {
    using Queue = PriorityFifo<Entry<V>>;

    std::mutex lock;
    HashIndex<Entry<V>> entries;  ///< owns them
    HashIndex<Waiter<V>> waiters;
    Queue nameless;  ///< the entries without a topic
    std::unordered_map<const Topic<V> *, Queue> named;
    std::atomic<std::size_t> size{0};
    std::atomic<std::uint64_t> puts{0};
    std::atomic<std::uint64_t> takes{0};

    /// Only the holder of the lock writes the counters, so this needs no locked instruction.
    template <class T>
    static void add(std::atomic<T> &counter, T n) noexcept {
        counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
    }

    /// Publishes the entry.  If it throws, nothing changed.
    void link(Entry<V> *entry, std::atomic<std::uint64_t> &order) {
        entries.reserve_one();
        Topic<V> &topic = *entry->topic;
        Queue &queue = entry->topic.named() ? named[&topic] : nameless;
        entries.insert(entry);
        // Drawn under the lock: a put that began after another one returned comes after it in every queue.
        entry->order = order.fetch_add(1, std::memory_order_relaxed);
        queue.push(entry);
        add<std::size_t>(size, 1);
        const std::uint64_t bit = std::uint64_t{1} << shard_index(entry->hash);
        if (!(topic.shards.load(std::memory_order_seq_cst) & bit))
            topic.shards.fetch_or(bit, std::memory_order_seq_cst);
    }

    EntryPtr<V> unlink(Entry<V> *entry) noexcept {
        entries.remove(entry);
        if (entry->topic.named()) {
            const auto it = named.find(&*entry->topic);
            it->second.remove(entry);
            if (it->second.empty()) named.erase(it);
        } else {
            nameless.remove(entry);
        }
        add<std::size_t>(size, std::size_t{0} - 1);
        return EntryPtr<V>(entry);
    }

    Entry<V> *first_of(const TopicRef<V> &topic) noexcept {
        if (!topic.named()) return nameless.empty() ? nullptr : nameless.first();
        const auto it = named.find(&*topic);
        return it == named.end() ? nullptr : it->second.first();
    }

    /// Leaves the bits in Topic::shards set: they are hints.
    void drain(Drained<V> &out) noexcept {
        entries.for_each([&](Entry<V> *entry) { entry->next_in_bucket = std::exchange(out.first, entry); });
        entries.reset();
        nameless = Queue();
        named.clear();
        size.store(0, std::memory_order_relaxed);
    }
};

template <class V>
using Shards = std::array<Shard<V>, kShards>;

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
