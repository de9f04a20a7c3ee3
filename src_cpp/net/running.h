// The transfers that run in one multi handle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "net/cancel.h"
#include "net/feed.h"
#include "net/multi.h"
#include "net/pool.h"
#include "net/transfer.h"

namespace offgil::net {

/// Many transfers at once, from their start to their results; what Batch and Engine drive.
///
/// Locking: none; belongs to the thread that drives it.  Pool::close() may end it from any thread.
class Running {
  public:
    struct Item {
        Item(const Config &config, SocketSet &sockets) : transfer(config, sockets) {}
        Transfer transfer;
        Request request;
        std::shared_ptr<Feed> feed;  ///< where the body goes piece by piece; null for an answer in one block
        bool opened = false;         ///< with a feed: its owner has taken the head
        CancelToken::Link link;
        std::uint64_t tag = 0;
        std::size_t index = 0;  ///< in items()
    };

    /// Is called at the end of each transfer, with the item as it was until then.  Must not end others.
    using OnEnd = std::function<void(Item &, Result)>;

    /// `pool` must outlive this.
    Running(Pool &pool, OnEnd on_end);
    ~Running();
    Running(const Running &) = delete;
    Running &operator=(const Running &) = delete;

    /// Whether the pool is open and this is the process that made it.
    bool usable() const;

    /// Adds a transfer, which the owner announces to the counters; its body is borrowed to the end.
    Item &start(Request request, std::uint64_t tag, Nanos until, std::shared_ptr<Feed> feed = nullptr);

    /// Lets libcurl do what can be done without waiting, and ends what is complete, overdue or cancelled.
    /// True if someone called Multi::wake(), who may have meant what the owner holds besides.
    bool turn();

    /// Ends what is overdue, after a sleep in which nothing became ready: a turn would make progress, which
    /// counts.
    void expire();

    /// Ends one transfer with that error, or without a result.
    void fail(Item &item, Error error);
    void drop(Item &item);

    const std::vector<std::unique_ptr<Item>> &items() const { return items_; }
    Multi &multi() { return *multi_; }
    Pool &pool() { return pool_; }

    /// No transfer is overdue before this.
    Nanos due() const { return scan_at_; }

  private:
    Nanos deadline(Item &item, Nanos now);
    void collect(Nanos now);
    void expire(Nanos now);
    void drop_cancelled();
    void end(Item &item, Result result);
    void retire(Item &item);

    Pool &pool_;
    const OnEnd on_end_;
    std::vector<std::unique_ptr<Item>> items_;
    std::vector<std::unique_ptr<Item>> spare_;
    std::vector<std::pair<Item *, CURLcode>> ended_;  ///< of this turn
    std::unique_ptr<Multi> multi_;  // after the items: it goes first, through their callbacks
    Nanos scan_at_ = kNever;
};

}  // namespace offgil::net
