// What the shared-state table is made of.
#pragma once

#include <cstddef>
#include <cstdint>
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
    unsigned priority = 0;       ///< below kPriorities
    std::size_t size = 0;        ///< as it counts against Bounds::bytes
    Time expires = kNever;       ///< absent from then on
    std::uint64_t producer = 0;  ///< for people
    Time created = {};           ///< for people; set by the table
};

/// One result.  The constant members and `value` are set before the entry is published; whoever was handed
/// the entry after it left the table owns it and needs no lock.  The other members belong to the lock of the
/// entry's shard.
template <class V>
struct Entry : EntryInfo {
    Entry(std::string_view k, std::size_t h, V v, TopicRef<V> t, const EntryInfo &info)
        : EntryInfo(info), name(k), hash(h), value(std::move(v)), topic(std::move(t)) {}

    std::string_view key() const noexcept { return name; }
    bool mortal() const noexcept { return expires != kNever; }
    bool expired() const noexcept { return mortal() && expires <= Clock::now(); }

    const std::string name;
    const std::size_t hash;
    V value;
    const TopicRef<V> topic;

    std::uint64_t order = 0;  ///< position among all puts of the table
    Entry *next_in_bucket = nullptr;
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
