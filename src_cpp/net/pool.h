// Connections that are kept between calls.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "net/config.h"
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

class Pool;

/// A slot on loan, which goes back to its pool by itself.
struct GiveBack {
    Pool *pool = nullptr;
    void operator()(Slot *slot) const;
};
using Lease = std::unique_ptr<Slot, GiveBack>;

/// The slots of one client.
///
/// Locking: `mutex_` guards `idle_`, `busy_` and `closed_`; it is held for a few pointer moves and never
/// while libcurl runs.  A slot handed out by acquire() belongs to the calling thread alone, but for
/// Multi::cancel().
class Pool {
  public:
    explicit Pool(const Config &config);
    ~Pool();

    /// The most recently used idle slot for `origin`, or a new one; null once closed.
    Lease acquire(std::string_view origin);

    /// Lets close() cancel a multi handle that is not a slot's; false once closed.
    bool enlist(Multi *multi);
    void dismiss(Multi *multi);

    /// Cancels every running call and refuses new ones.
    void close();

    const Config &config() const { return config_; }
    SocketSet &sockets() { return sockets_; }
    std::uint32_t generation() const { return generation_; }

  private:
    friend GiveBack;

    /// Takes a slot back.  Beyond `kMaxIdle` the one that has been idle for longest goes.
    void release(std::unique_ptr<Slot> slot);

    static constexpr std::size_t kMaxIdle = 256;

    Config config_;
    const std::uint32_t generation_;
    SocketSet sockets_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<Slot>> idle_;  // the most recently used last
    std::unordered_set<Multi *> busy_;
    bool closed_ = false;
};

}  // namespace offgil::net
