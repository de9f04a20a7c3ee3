// What the shared-state table is made of.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "store/shared/clock.h"
#include "store/shared/fifo.h"
#include "store/shared/topics.h"

namespace offgil::store {

/// What is known of an entry besides its key and value.
struct EntryInfo {
    Time expires = kNever;       ///< absent from then on; first, beside what a look-up reads
    unsigned priority = 0;       ///< below kPriorities
    std::size_t size = 0;        ///< as it counts against Bounds::bytes
    std::uint64_t producer = 0;  ///< for people
    Time created = {};           ///< for people; set by the table
};

/// A key with its hash, which the table leaves to its caller: equal keys have equal hashes, and all 64 bits
/// count.
struct Key {
    Key(std::string_view text, std::size_t h) noexcept : name(text), hash(h) {}

    /// For callers without a hash of their own.
    template <std::convertible_to<std::string_view> Text>
    Key(const Text &text) noexcept : name(text), hash(std::hash<std::string_view>{}(name)) {}

    std::string_view name;
    std::size_t hash;
};

struct OwnedKey {
    OwnedKey(const Key &key) : name(key.name), hash(key.hash) {}

    template <std::convertible_to<std::string_view> Text>
    OwnedKey(const Text &text) : OwnedKey(Key(text)) {}

    Key view() const noexcept { return {name, hash}; }

    std::string name;
    std::size_t hash;
};

template <class V>
struct Entry;

/// What a look-up reads of an entry.
template <class V>
struct EntryHead {
    EntryHead(const Key &key, V v) : name(key.name), hash(key.hash), value(std::move(v)) {}

    const std::string name;
    const std::size_t hash;
    Entry<V> *next_in_bucket = nullptr;
    V value;
};

/// One result.  The constant members, EntryInfo and `value` are set before the entry is published; whoever
/// was handed the entry after it left the table owns it and needs no lock.  The other members belong to the
/// lock of the entry's shard.  The head comes first, so that a look-up touches one cache line of it.
template <class V>
struct Entry : EntryHead<V>, EntryInfo {
    Entry(const Key &key, V v, TopicRef<V> t, const EntryInfo &info)
        : EntryHead<V>(key, std::move(v)), EntryInfo(info), topic(std::move(t)) {}

    bool mortal() const noexcept { return expires != kNever; }
    bool expired() const noexcept { return mortal() && expires <= Clock::now(); }

    const TopicRef<V> topic;
    std::uint64_t order = 0;  ///< position among all puts of the table
    Links<Entry> queue;       ///< among its topic's entries in its shard
    Links<Entry> recency;     ///< among its shard's entries; only where the least recently used is evicted
    Time used = {};           ///< the same
    std::size_t heap_at = 0;  ///< position in its shard's ExpiryHeap, if mortal
};

template <class V>
using EntryPtr = std::unique_ptr<Entry<V>>;

/// Entries that left the table; destroyed by the destructor, which therefore runs when the lock is gone.
template <class V>
class Drained {
  public:
    Drained() = default;
    Drained(const Drained &) = delete;
    Drained &operator=(const Drained &) = delete;
    ~Drained() {
        while (first_) {
            const EntryPtr<V> entry(first_);
            first_ = entry->next_in_bucket;
        }
    }

    bool empty() const noexcept { return !first_; }
    void add(Entry<V> *unlinked) noexcept {
        unlinked->next_in_bucket = first_;
        first_ = unlinked;
    }

  private:
    Entry<V> *first_ = nullptr;
};

}  // namespace offgil::store
