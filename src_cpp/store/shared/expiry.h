// Which entries expire next: an intrusive binary heap.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "store/shared/clock.h"

namespace offgil::store {

/// T has `Time expires` and `std::size_t heap_at`, which only the heap touches.  It owns nothing and is not
/// synchronised: the owner's lock guards it.
template <class T>
class ExpiryHeap {
  public:
    bool empty() const noexcept { return items_.empty(); }
    std::size_t size() const noexcept { return items_.size(); }

    /// The one that expires first.  Not for an empty heap.
    T *first() const noexcept { return items_.front(); }

    /// Makes room for one more item.  The only call that can throw.
    void reserve_one() {
        if (items_.size() == items_.capacity()) items_.reserve(std::max<std::size_t>(16, items_.size() * 2));
    }

    void push(T *item) noexcept {
        items_.push_back(item);
        rise(items_.size() - 1, item);
    }

    void remove(T *item) noexcept {
        T *last = items_.back();
        items_.pop_back();
        if (item == last) return;
        const std::size_t hole = item->heap_at;
        if (hole > 0 && last->expires < items_[parent(hole)]->expires)
            rise(hole, last);
        else
            sink(hole, last);
    }

    void reset() noexcept { std::vector<T *>().swap(items_); }

  private:
    static std::size_t parent(std::size_t at) noexcept { return (at - 1) / 2; }

    void set(std::size_t at, T *item) noexcept {
        items_[at] = item;
        item->heap_at = at;
    }

    void rise(std::size_t at, T *item) noexcept {
        for (; at > 0 && item->expires < items_[parent(at)]->expires; at = parent(at))
            set(at, items_[parent(at)]);
        set(at, item);
    }

    void sink(std::size_t at, T *item) noexcept {
        for (;;) {
            std::size_t child = 2 * at + 1;
            if (child >= items_.size()) break;
            if (child + 1 < items_.size() && items_[child + 1]->expires < items_[child]->expires) ++child;
            if (items_[child]->expires >= item->expires) break;
            set(at, items_[child]);
            at = child;
        }
        set(at, item);
    }

    std::vector<T *> items_;
};

}  // namespace offgil::store
