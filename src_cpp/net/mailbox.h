// What became of requests, on its way from the engine's thread to an event loop.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <variant>
#include <vector>

#include "net/error.h"
#include "net/feed.h"
#include "net/response.h"

namespace offgil::net {

/// What became of what was submitted under `tag`: an answer, an error, or, with neither, that a pause is over
/// or that a feed has something for its reader.
struct Event {
    std::uint64_t tag;
    std::variant<std::monostate, Response, Error> outcome;
    std::shared_ptr<Feed> feed;  ///< of an answer in pieces: its body
};

/// A queue of events with a descriptor that is readable while there are any: one wake-up of the loop for a
/// group of events, however many come before it looks.
///
/// Locking: `mutex_` guards `events_` and `rung_`; it is held for moving events and for one read(2) or
/// write(2) that does not wait.  The descriptors never change.
class Mailbox {
  public:
    /// Throws std::system_error if there are no more descriptors.
    Mailbox();
    ~Mailbox();
    Mailbox(const Mailbox &) = delete;
    Mailbox &operator=(const Mailbox &) = delete;

    /// For select(2) and its successors; owned by the mailbox.
    int descriptor() const { return read_end_; }

    /// Queues an event; the reader learns of it by the next ring().
    void put(Event event);
    void ring();

    std::vector<Event> take();

  private:
    int read_end_ = -1;
    int write_end_ = -1;  ///< the same where there is eventfd(2)
    std::mutex mutex_;
    std::vector<Event> events_;
    bool rung_ = false;
};

}  // namespace offgil::net
