// Waits for many keys in one sleep, for as_completed() and for the futures and tasks of a process.
//
// A watch has one waiter slot, which stands in the sets of all shards that its keys lie in.  Each of these
// shards counts what is published in it (Shard::version): a watch that was woken looks for keys only where
// that number has changed.  At the end of each slice of its sleep it looks for all of them, as a key may have
// come from a process that was killed before it could count.
//
// Locking: `mutex_` guards all but `stopped_` and `waiter_`'s slot, which are atomics; it is taken before a
// shard's lock.  add(), discard() and stop() are for any thread, next() for one at a time.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "store/managed/store.h"

namespace offgil::store::managed {

class Watch {
  public:
    /// `store` must outlive it.
    explicit Watch(Store &store);
    ~Watch();
    Watch(const Watch &) = delete;
    Watch &operator=(const Watch &) = delete;

    void add(std::string key);
    void discard(const std::string &key);
    std::size_t pending() const;
    /// Sleeps until some of the keys are there, which it then waits for no longer, and gives them in the
    /// order of their publication.  Absent: not until the deadline.  Interrupted: also by stop().
    Outcome next(std::vector<std::string> &arrived, const Patience &patience);
    /// Ends next(), now and for ever.
    void stop();

  private:
    struct Part {
        std::unordered_set<std::string> keys;
        std::uint64_t seen = 0;  ///< Shard::version when all of them were looked for
        bool unseen = false;     ///< some of them were never looked for
        bool joined = false;     ///< the slot stands in the shard's set
    };
    using Found = std::vector<std::pair<std::uint64_t, std::string>>;

    void look(std::uint32_t shard, bool all, Found &found);
    void check_ours() const;
    void wake();

    Store &store_;
    const Segment &segment_;
    std::uint32_t generation_;
    Waiter waiter_;
    mutable std::mutex mutex_;
    std::vector<Part> parts_;  ///< one for each shard
    Found held_;               ///< found, but an older one may have been missed in a shard looked at before
    std::size_t pending_ = 0;
    std::atomic<bool> stopped_{false};
};

}  // namespace offgil::store::managed
