// Blocking requests, from any number of threads.
#pragma once

#include <atomic>
#include <optional>
#include <variant>

#include "net/multi.h"
#include "net/per_process.h"
#include "net/pool.h"
#include "net/request.h"
#include "net/transfer.h"

namespace offgil::net {

/// Locking: `closed_` is atomic; everything else locks by itself.
class Client {
  public:
    explicit Client(Config config);
    Client(const Client &) = delete;
    Client &operator=(const Client &) = delete;

    /// Runs one request on the calling thread until it is answered, fails, is interrupted or the client is
    /// closed.
    Result perform(const Request &request, const Interrupt &interrupt);

    /// Cancels every running call, from any thread, and ends the engine's.  Idempotent.
    void close();
    bool closed() const { return closed_.load(std::memory_order_acquire); }

    /// This process' pool: cleaning up an ancestor's would talk to the ancestor's peers.
    Pool &pool() { return pool_.get(config_); }

  private:
    const Config config_;
    PerProcess<Pool> pool_;
    std::atomic<bool> closed_{false};
};

/// A slot for `request`, whose time began at `now`, or why there is none.
std::variant<Lease, Error> lease(Pool &pool, const Request &request, Nanos now, const Interrupt &interrupt);

/// Drives the transfer that was begun on `slot` and added to its multi handle until it is over, or, with
/// nothing to return, until it yields (see Transfer::yields).  `link` is that of the request's cancel token.
std::optional<Result> drive(Slot &slot, const Request &request, const CancelToken::Link &link,
                            const Interrupt &interrupt);

/// The error of a pause between two attempts that `kind` ended.
Error pause_failure(ErrorKind kind);

/// The error of a request that was given up before or while it ran, for a reason that lies on this side.
Error failure(ErrorKind kind, const Request &request);

}  // namespace offgil::net
