// An intrusive first-in-first-out list, and one such list for each priority.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace offgil::store {

/// What an item of one list carries.
template <class T>
struct Links {
    T *older = nullptr;
    T *newer = nullptr;
};

/// `links` is the member of T that this list uses.  It owns nothing and is not synchronised: the owner's lock
/// guards it.
template <class T, Links<T> T::*links>
class Fifo {
  public:
    bool empty() const noexcept { return !oldest_; }
    T *oldest() const noexcept { return oldest_; }

    void push(T *item) noexcept {
        item->*links = {newest_, nullptr};
        (newest_ ? (newest_->*links).newer : oldest_) = item;
        newest_ = item;
    }

    /// Back to the head of the queue.
    void push_first(T *item) noexcept {
        item->*links = {nullptr, oldest_};
        (oldest_ ? (oldest_->*links).older : newest_) = item;
        oldest_ = item;
    }

    void remove(T *item) noexcept {
        const Links<T> at = item->*links;
        (at.older ? (at.older->*links).newer : oldest_) = at.newer;
        (at.newer ? (at.newer->*links).older : newest_) = at.older;
    }

    /// The oldest item, removed; null if there is none.
    T *pop() noexcept {
        T *item = oldest_;
        if (item) remove(item);
        return item;
    }

  private:
    T *oldest_ = nullptr;
    T *newest_ = nullptr;
};

inline constexpr unsigned kPriorities = 64;

/// T has `unsigned priority` besides.  Constant time whatever the number of priorities: one bit marks each
/// used lane.
template <class T, Links<T> T::*links>
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
    std::array<Fifo<T, links>, kPriorities> lanes_;
    static_assert(kPriorities == 64, "one bit of used_ for each priority");
};

}  // namespace offgil::store
