// The bound of a table: how much is in it, and who waits for room.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <mutex>

#include "store/shared/fifo.h"
#include "store/shared/parker.h"

namespace offgil::store {

/// What a put does that finds no room.
enum class OnFull { raise, block, evict };

struct Bounds {
    static constexpr std::size_t none = std::numeric_limits<std::size_t>::max();

    std::size_t entries = none;
    std::size_t bytes = none;
    OnFull on_full = OnFull::raise;
};

/// One put that waits for room; lives on its stack.  While `queued` it belongs to the room's lock; whoever
/// clears that owes it a wake().
struct Seeker {
    Parker parker;
    bool queued = false;
    Links<Seeker> links;
};

/// Counts what a bounded table holds.
///
/// First come, first served: while puts wait, a newcomer that needs room waits behind them.  The first of
/// them is woken when there may be room; it is then *in service* until it calls take() again, or pass_on()
/// because it gave up.  A seeker that still finds too little goes back to the head of the queue.
///
/// Thread-safety: every member may be called from any thread; `lock_` guards all but the constants.  It may
/// be taken with a shard's lock held, and no other lock is taken while it is held.
class Room {
  public:
    explicit Room(const Bounds &bounds, bool measured)
        : bounds_(bounds),
          counted_(measured || bounds.entries != Bounds::none || bounds.bytes != Bounds::none) {}

    const Bounds &bounds() const noexcept { return bounds_; }

    /// Whether anything is counted at all.
    bool counted() const noexcept { return counted_; }

    /// Takes room for `bytes` in one entry, in place of one of `replaced` bytes if `replaces`.  Without room,
    /// queues `seeker` if there is one.
    bool take(std::size_t bytes, bool replaces, std::size_t replaced, bool in_service, Seeker *seeker) {
        const std::lock_guard hold(lock_);
        const bool grows = !replaces || bytes > replaced;
        const bool next = in_service || (queue_.empty() && !serving_);
        const bool fits =
            (replaces || entries_ < bounds_.entries) && bytes <= bounds_.bytes - (bytes_ - replaced);
        if (fits && (next || !grows)) {
            entries_ += replaces ? 0 : 1;
            bytes_ = bytes_ - replaced + bytes;
            return true;
        }
        if (!seeker) return false;
        if (in_service) {
            serving_ = false;
            queue_.push_first(seeker);
        } else {
            queue_.push(seeker);
        }
        ++waiting_;
        seeker->queued = true;
        return false;
    }

    /// Gives room back, and lets the first in the queue try.
    void give(std::size_t entries, std::size_t bytes) noexcept {
        Seeker *next = nullptr;
        {
            const std::lock_guard hold(lock_);
            entries_ -= entries;
            bytes_ -= bytes;
            next = serve();
        }
        if (next) next->parker.wake();
    }

    /// Ends a service: the next one may try.
    void pass_on() noexcept {
        Seeker *next = nullptr;
        {
            const std::lock_guard hold(lock_);
            serving_ = false;
            next = serve();
        }
        if (next) next->parker.wake();
    }

    /// False if the seeker was woken meanwhile, and so is in service.
    bool withdraw(Seeker &seeker) noexcept {
        const std::lock_guard hold(lock_);
        if (!seeker.queued) return false;
        leave(&seeker);
        return true;
    }

    /// Lets all of them see that the table is closed.
    void wake_all() noexcept {
        Fifo<Seeker, &Seeker::links> woken;
        {
            const std::lock_guard hold(lock_);
            while (Seeker *seeker = queue_.oldest()) {
                leave(seeker);
                woken.push(seeker);
            }
        }
        while (Seeker *seeker = woken.pop()) seeker->parker.wake();
    }

    std::size_t bytes() const noexcept {
        const std::lock_guard hold(lock_);
        return bytes_;
    }

    std::size_t waiting() const noexcept {
        const std::lock_guard hold(lock_);
        return waiting_;
    }

  private:
    void leave(Seeker *seeker) noexcept {
        queue_.remove(seeker);
        seeker->queued = false;
        --waiting_;
    }

    Seeker *serve() noexcept {
        Seeker *next = serving_ ? nullptr : queue_.oldest();
        if (!next) return nullptr;
        leave(next);
        serving_ = true;
        return next;
    }

    const Bounds bounds_;
    const bool counted_;

    mutable std::mutex lock_;
    std::size_t entries_ = 0;
    std::size_t bytes_ = 0;
    std::size_t waiting_ = 0;  ///< length of queue_
    bool serving_ = false;     ///< one seeker was woken and has not come back yet
    Fifo<Seeker, &Seeker::links> queue_;
};

/// Ends the service of a seeker that was woken.
struct Service {
    explicit Service(Room &of) noexcept : room(of) {}
    Service(const Service &) = delete;
    Service &operator=(const Service &) = delete;
    ~Service() {
        if (active) room.pass_on();
    }

    Room &room;
    bool active = false;
};

/// Gives room back when the locks are released: declare it before the lock guard, since giving may wake.
class RoomReturn {
  public:
    explicit RoomReturn(Room &room) noexcept : room_(room) {}
    RoomReturn(const RoomReturn &) = delete;
    RoomReturn &operator=(const RoomReturn &) = delete;
    ~RoomReturn() {
        if (due_ && room_.counted()) room_.give(entries_, bytes_);
    }

    void add(std::size_t bytes) noexcept {
        ++entries_;
        bytes_ += bytes;
        due_ = true;
    }

    /// Something changed that whoever waits for room should look at.
    void look() noexcept { due_ = true; }

  private:
    Room &room_;
    std::size_t entries_ = 0;
    std::size_t bytes_ = 0;
    bool due_ = false;
};

}  // namespace offgil::store
