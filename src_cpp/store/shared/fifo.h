// An intrusive first-in-first-out list, and one such list for each priority.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace offgil::store {

/// T has `T *older` and `T *newer`.  It owns nothing and is not synchronised: the owner's lock guards it.
template <class T>
class Fifo {
  public:
    bool empty() const noexcept { return !oldest_; }
    T *oldest() const noexcept { return oldest_; }

    void push(T *item) noexcept {
        item->older = newest_;
        item->newer = nullptr;
        (newest_ ? newest_->newer : oldest_) = item;
        newest_ = item;
    }

    void remove(T *item) noexcept {
        (item->older ? item->older->newer : oldest_) = item->newer;
        (item->newer ? item->newer->older : newest_) = item->older;
    }

  private:
    T *oldest_ = nullptr;
    T *newest_ = nullptr;
};

inline constexpr unsigned kPriorities = 64;

/// T has `unsigned priority` besides.  Constant time whatever the number of priorities: one bit marks each
/// used lane.
template <class T>
class PriorityFifo {
  public:
    bool empty() const noexcept { return used_ == 0; }

    /// The oldest item of the highest priority.  Not for an empty queue.
    T *first() const noexcept { return lanes_[static_cast<unsigned>(std::bit_width(used_)) - 1].oldest(); }

    void push(T *item) noexcept {
        lanes_[item->priority].push(item);
        used_ |= std::uint64_t{1} << item->priority;
    }

    void remove(T *item) noexcept {
        lanes_[item->priority].remove(item);
        if (lanes_[item->priority].empty()) used_ &= ~(std::uint64_t{1} << item->priority);
    }

  private:
    std::uint64_t used_ = 0;  ///< bit p is set while lanes_[p] is not empty
    std::array<Fifo<T>, kPriorities> lanes_;
    static_assert(kPriorities == 64, "one bit of used_ for each priority");
};

}  // namespace offgil::store
