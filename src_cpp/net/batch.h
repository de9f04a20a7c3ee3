// Many requests at once, driven on the calling thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "net/client.h"
#include "net/running.h"

namespace offgil::net {

/// One multi handle for many transfers: no thread of its own, and one return to the caller per group of
/// completions.
///
/// Locking: none; a batch belongs to one thread at a time.  Client::close() may cancel it from any thread.
class Batch {
  public:
    /// `client` must outlive the batch.  `connections` is how many are kept open for reuse.
    Batch(Client &client, std::size_t connections);

    struct Completion {
        std::uint64_t tag;
        Result result;
    };

    /// Queues a request; its body is borrowed until its completion was handed out.  Sends nothing before
    /// wait().
    void add(Request request, std::uint64_t tag);

    /// Drives all transfers until at least one is complete, and returns all that are by then; empty at
    /// `deadline` or when the interrupt hook says so (then `interrupted` is set).  With nothing in flight it
    /// sleeps until `deadline`.
    std::vector<Completion> wait(Nanos deadline, const Interrupt &interrupt, bool &interrupted);

    /// Whether the batch can run: its client is open and this is the process that made it.
    bool usable() const { return running_.usable(); }

  private:
    std::vector<Completion> done_;  ///< since the last wait()
    Running running_;
};

}  // namespace offgil::net
