// Those who wait for a result: one base, and the calls that sleep.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "store/shared/entry.h"
#include "store/shared/hash_index.h"
#include "store/shared/parker.h"

namespace offgil::store {

/// Waits for one key, or as a taker for a topic.
///
/// While `linked`, all members belong to the lock of the list it is in (a shard's or a topic's).  Whoever
/// unlinks it owns it from then on: that is either its maker, who gave up, or a waker, who fills in the
/// result and calls deliver() as its last touch.
template <class V>
class Waiter {
  public:
    enum class Wants { copy, entry };

    Waiter(const Key &key, Wants w) : name(key.name), hash(key.hash), wants(w) {}
    Waiter(const Waiter &) = delete;
    Waiter &operator=(const Waiter &) = delete;

    Key key() const noexcept { return {name, hash}; }

    /// Tells the maker that there is a result.  Called with no lock held, once.
    virtual void deliver() noexcept = 0;

    /// Whether deliver() runs code that is not ours: then it comes after the others'.
    virtual bool calls_out() const noexcept { return false; }

    const std::string_view name;  ///< empty for a taker
    const std::size_t hash;
    const Wants wants;

    bool linked = false;
    bool closed = false;      ///< result: the table was closed
    std::optional<V> copy;    ///< result of Wants::copy
    EntryPtr<V> entry;        ///< result of Wants::entry
    std::uint64_t order = 0;  ///< result: the entry's

    Waiter *next_in_bucket = nullptr;  ///< among a shard's KeyWaiters
    Waiter *newest = nullptr;          ///< in KeyWaiters: the last of those behind this one
    Links<Waiter> links;               ///< behind one another in KeyWaiters, Topic::takers or WakeList

  protected:
    ~Waiter() = default;
};

template <class V>
using Waiters = Fifo<Waiter<V>, &Waiter<V>::links>;

/// One waiting call; lives on its stack.
template <class V>
class ParkedWaiter final : public Waiter<V> {
  public:
    using Waiter<V>::Waiter;
    void deliver() noexcept override { parker.wake(); }

    Parker parker;
};

/// Waiters to wake when the locks are released: declare it before the lock guard.  Waking is a system call,
/// and the woken thread would run into a lock that is still held.
template <class V>
class WakeList {
  public:
    WakeList() = default;
    WakeList(const WakeList &) = delete;
    WakeList &operator=(const WakeList &) = delete;
    ~WakeList() {
        while (Waiter<V> *waiter = ours_.pop()) waiter->deliver();
        while (Waiter<V> *waiter = theirs_.pop()) waiter->deliver();
    }

    void add(Waiter<V> *unlinked) noexcept { (unlinked->calls_out() ? theirs_ : ours_).push(unlinked); }

  private:
    Waiters<V> ours_;
    Waiters<V> theirs_;
};

/// The waiters of a shard by key.  The first of each key is in the index and the others queue up behind it,
/// so that any number of them may wait for one key.  Not synchronised: the shard's lock guards it.
template <class V>
class KeyWaiters {
  public:
    bool empty() const noexcept { return firsts_.empty(); }

    /// The one that waits longest; the others follow by links.newer.
    Waiter<V> *find(const Key &key) const noexcept { return firsts_.find(key); }

    /// Makes room for one more waiter.  The only call that can throw.
    void reserve_one() { firsts_.reserve_one(); }

    void push(Waiter<V> *waiter) noexcept {
        if (Waiter<V> *first = find(waiter->key())) {
            waiter->links = {first->newest, nullptr};
            first->newest->links.newer = waiter;
            first->newest = waiter;
        } else {
            waiter->links = {};
            waiter->newest = waiter;
            firsts_.insert(waiter);
        }
    }

    void remove(Waiter<V> *waiter) noexcept {
        const auto [older, newer] = waiter->links;
        if (newer) newer->links.older = older;
        if (older) {
            older->links.newer = newer;
            if (!newer) find(waiter->key())->newest = older;
            return;
        }
        firsts_.remove(waiter);
        if (!newer) return;
        newer->newest = waiter->newest;
        firsts_.insert(newer);
    }

    /// `fn` may unlink or free the waiter that it is given, but no other.
    template <class Fn>
    void for_each(Fn &&fn) const {
        firsts_.for_each([&](Waiter<V> *first) {
            for (Waiter<V> *next = nullptr; first; first = next) {
                next = first->links.newer;
                fn(first);
            }
        });
    }

    void reset() noexcept { firsts_.reset(); }

  private:
    HashIndex<Waiter<V>> firsts_;
};

}  // namespace offgil::store
