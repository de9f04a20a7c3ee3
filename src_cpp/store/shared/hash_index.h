// An intrusive chained hash table: it owns nothing and, once grown, allocates nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace offgil::store {

/// T has `std::size_t hash`, `T *next_in_bucket` and a string `name`.  Not synchronised: the owner's lock
/// guards it.
template <class T>
class HashIndex {
  public:
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }

    /// For a key with `name` and `hash`.
    template <class Key>
    T *find(const Key &key) const noexcept {
        if (buckets_.empty()) return nullptr;
        T *item = buckets_[key.hash & mask()];
        while (item && !(item->hash == key.hash && same(item->name, key.name))) item = item->next_in_bucket;
        return item;
    }

    /// Makes room for one more item.  The only call that can throw, so callers make it before they change
    /// anything.
    void reserve_one() {
        if (size_ < buckets_.size() / 2) return;
        std::vector<T *> old(buckets_.empty() ? 8 : buckets_.size() * 2);
        old.swap(buckets_);
        for (T *item : old)
            while (item) {
                T *next = item->next_in_bucket;
                chain(item);
                item = next;
            }
    }

    void insert(T *item) noexcept {
        chain(item);
        ++size_;
    }

    void remove(T *item) noexcept {
        T **link = &buckets_[item->hash & mask()];
        while (*link != item) link = &(*link)->next_in_bucket;
        *link = item->next_in_bucket;
        --size_;
    }

    /// Puts `item` in the place of one with the same hash.
    void replace(T *old, T *item) noexcept {
        T **link = &buckets_[old->hash & mask()];
        while (*link != old) link = &(*link)->next_in_bucket;
        item->next_in_bucket = old->next_in_bucket;
        *link = item;
    }

    /// `fn` may destroy the item that it is given.
    template <class Fn>
    void for_each(Fn &&fn) const {
        for (T *item : buckets_)
            while (item) {
                T *next = item->next_in_bucket;
                fn(item);
                item = next;
            }
    }

    /// Forgets all items and gives the buckets' memory back.
    void reset() noexcept {
        std::vector<T *>().swap(buckets_);
        size_ = 0;
    }

  private:
    /// A call of memcmp() would be a tenth of a look-up.
    static bool same(std::string_view a, std::string_view b) noexcept {
        if (a.size() != b.size()) return false;
        const auto word = [](const char *at) noexcept {
            std::uint64_t bytes;
            std::memcpy(&bytes, at, sizeof(bytes));
            return bytes;
        };
        const std::size_t size = a.size();
        if (size < sizeof(std::uint64_t)) {
            std::size_t i = 0;
            while (i < size && a[i] == b[i]) ++i;
            return i == size;
        }
        const std::size_t last = size - sizeof(std::uint64_t);  // overlaps the word before it
        for (std::size_t i = 0; i < last; i += sizeof(std::uint64_t))
            if (word(a.data() + i) != word(b.data() + i)) return false;
        return word(a.data() + last) == word(b.data() + last);
    }

    void chain(T *item) noexcept {
        T *&bucket = buckets_[item->hash & mask()];
        item->next_in_bucket = bucket;
        bucket = item;
    }

    std::size_t mask() const noexcept { return buckets_.size() - 1; }

    std::vector<T *>
        buckets_;  ///< a power of two of chains, at least twice the items: each step is a cache miss
    std::size_t size_ = 0;
};

}  // namespace offgil::store
