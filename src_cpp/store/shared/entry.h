// What the shared-state table is made of: entries, and the waiters parked for them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "store/shared/parker.h"
#include "store/shared/topics.h"

namespace offgil::store {

/// One result.  The constant members and `value` are set before the entry is published; whoever was handed
/// the entry after it left the table owns it and needs no lock.  The other members belong to the lock of the
/// entry's shard.
template <class V>
struct Entry {
    Entry(std::string_view k, std::size_t h, V v, TopicRef<V> t, unsigned p)
        : name(k), hash(h), value(std::move(v)), topic(std::move(t)), priority(p) {}

    std::string_view key() const noexcept { return name; }

    const std::string name;
    const std::size_t hash;
    V value;
    const TopicRef<V> topic;
    const unsigned priority;

    std::uint64_t order = 0;  ///< position among all puts of the table
    Entry *next_in_bucket = nullptr;
    Entry *older = nullptr;
    Entry *newer = nullptr;
};

template <class V>
using EntryPtr = std::unique_ptr<Entry<V>>;

/// One waiting call; lives on its stack.
///
/// While `linked`, all members belong to the lock of the list it is in (a shard's or a topic's).  Whoever
/// unlinks it owns it from then on: that is either the waiting call itself, which gave up, or a waker, which
/// fills in the result and must call parker.wake() as its last touch.
template <class V>
struct Waiter {
    enum class Wants { copy, entry };

    Waiter(std::string_view k, std::size_t h, Wants w) : name(k), hash(h), wants(w) {}

    std::string_view key() const noexcept { return name; }

    const std::string_view name;  ///< empty for a taker
    const std::size_t hash;
    const Wants wants;

    bool linked = false;
    bool closed = false;    ///< result: the table was closed
    std::optional<V> copy;  ///< result of Wants::copy
    EntryPtr<V> entry;      ///< result of Wants::entry
    Parker parker;

    Waiter *next_in_bucket = nullptr;  ///< among a shard's waiters
    Waiter *older = nullptr;           ///< among a topic's takers
    Waiter *newer = nullptr;           ///< the same; in a WakeList the next one
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
        while (Waiter<V> *waiter = waiters_.oldest()) {
            waiters_.remove(waiter);
            waiter->parker.wake();
        }
    }

    void add(Waiter<V> *unlinked) noexcept { waiters_.push(unlinked); }

  private:
    Fifo<Waiter<V>> waiters_;
};

}  // namespace offgil::store
