// Connections that are kept between calls.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <variant>
#include <vector>

#include "net/config.h"
#include "net/counters.h"
#include "net/multi.h"
#include "net/sockets.h"
#include "net/transfer.h"

namespace offgil::net {

/// What one blocking call needs: an easy handle, and a multi handle of its own that keeps the connection
/// afterwards. Connections never move between multi handles: libcurl cannot share them across threads.
struct Slot {
    Slot(const Config &config, SocketSet &sockets) : transfer(config, sockets) {}

    // The order matters: the multi handle closes its connections through the easy handle's callbacks.
    Transfer transfer;
    Multi multi;
    std::string origin;  ///< what the kept connection leads to
};

class Engine;
class Pool;

/// A slot on loan, which goes back to its pool by itself.
struct GiveBack {
    Pool *pool = nullptr;
    void operator()(Slot *slot) const;
};
using Lease = std::unique_ptr<Slot, GiveBack>;

/// One of max_connections that is taken without a slot; null where there is no bound.
struct Leave {
    void operator()(Pool *pool) const;
};
using Place = std::unique_ptr<Pool, Leave>;

/// How long, and how, a caller is ready to wait for a slot.
struct Patience {
    Nanos until;
    Interrupt interrupt;
    std::shared_ptr<CancelToken> cancel;
};

/// The slots of one client.
///
/// Locking: `mutex_` guards `idle_`, `busy_`, `lent_`, `closed_` and the making of `engine_`; it is held for
/// a few pointer moves and curl_multi_wakeup(), never while libcurl does more or the interrupt hook runs.  A
/// slot handed out by acquire() belongs to the calling thread alone, but for Multi::close() and wake().  The
/// counters are atomic.
class Pool final : private Wakeable {
  public:
    explicit Pool(const Config &config);
    ~Pool();

    /// The most recently used idle slot for `origin`, or a new one.  Waits while `max_connections` are lent;
    /// then the kind of the failure: pool_timeout, cancelled, interrupted or closed.
    std::variant<Lease, ErrorKind> acquire(std::string_view origin, const Patience &patience);

    /// A place for who is about to give a slot back, and still counts.
    Place occupy();

    /// Sleeps until `patience.until`; the kind of what ended it early: closed, cancelled or interrupted.
    std::optional<ErrorKind> pause(const Patience &patience);

    /// Lets close() reach a multi handle that is not a slot's; false once closed.
    bool enlist(Multi *multi);
    void dismiss(Multi *multi);

    /// What runs the requests of event loops; without a thread before the first of them.
    Engine &engine();

    /// Ends every running call, wakes every waiting one, refuses new ones, and waits for the engine's thread.
    void close();

    Counters &counters() { return counters_; }

    const Config &config() const { return config_; }
    SocketSet &sockets() { return sockets_; }
    std::uint32_t generation() const { return generation_; }

  private:
    friend GiveBack;
    friend Leave;

    /// Takes a slot back.  Beyond `max_keepalive` the one that has been idle for longest goes.
    void release(std::unique_ptr<Slot> slot);

    /// With `lock` held: sleeps on `condition` until `ready()`; else why not, pool_timeout for
    /// `patience.until`.
    template <typename Ready>
    std::optional<ErrorKind> sleep(std::condition_variable &condition, std::unique_lock<std::mutex> &lock,
                                   const Patience &patience, Ready &&ready);

    void wake() override;

    Config config_;
    const std::uint32_t generation_;
    SocketSet sockets_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Slot>> idle_;  // the most recently used last
    std::unordered_set<Multi *> busy_;
    std::condition_variable turn_;   // a slot came back, or a waiter has to look around
    std::condition_variable pause_;  // the same for who only passes time, and must not be told of slots
    std::size_t lent_ = 0;
    bool closed_ = false;
    Counters counters_;
    std::unique_ptr<Engine> engine_;  // last: it uses all of the above until it is gone
};

}  // namespace offgil::net
