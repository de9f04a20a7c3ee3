// A response whose body is handed out piece by piece.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <variant>

#include "net/client.h"

namespace offgil::net {

/// One request on a slot of its own, driven by whoever asks for the next piece.
///
/// Locking: none; a stream belongs to one thread at a time.  Client::close() may cancel it from any thread.
class Stream {
  public:
    /// `client` must outlive the stream, and so must the body that `request` borrows.
    Stream(Client &client, Request request);
    ~Stream();
    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;

    /// Sends the request and waits for the head of the answer.  Once, and first.
    std::optional<Error> open(const Interrupt &interrupt);

    /// The answer without its body; does not change after open().
    const Response &head() const { return head_; }

    /// Waits for bytes and returns all that are there, valid until the next call; none at the end of the
    /// body. An error comes after the bytes that came before it, and again at each further call.
    std::variant<std::string_view, Error> next(const Interrupt &interrupt);

    /// Whether next() may have to wait for the network.
    bool waits() const { return run_ && !unread_; }

    /// Whether next() returns all that is left at once, and no error.
    bool complete() const { return !run_ && !failure_ && !inherited(); }

    /// Whether close() may take time.
    bool running() const { return run_ != nullptr; }

    /// Drops what is unread.  A connection in the middle of an answer ends, unless nothing is unread but the
    /// end, and that is there.
    void close();

  private:
    /// Drives the transfer until there is something to hand out, or to its end.
    void advance(const Interrupt &interrupt);
    void fail(Error error);
    Error error(ErrorKind kind, std::string_view what) const;
    /// Why not to go on, for a reason that lies on this side.
    std::optional<Error> given_up(Nanos now) const;
    /// Takes the answer's end if it came since next() returned all that was there.
    void take_end();
    /// Ends the run, and counts it by `result`.
    void end(const Result &result);
    void let_go();
    bool inherited() const { return generation_ != fork_generation(); }

    Client &client_;
    const std::uint32_t generation_;
    const Request request_;
    Nanos until_ = kNever;  ///< when the total time is over
    Response head_;
    Body piece_;
    bool unread_ = false;           ///< piece_ holds bytes that next() has not returned
    std::optional<Error> failure_;  ///< what next() says once nothing is unread

    /// An answer that is not over.  The order matters: the transfer leaves the multi handle before the slot
    /// goes back to the pool.
    struct Run {
        Lease slot;
        CancelToken::Link link;
        Added added;  ///< the slot's transfer in the slot's multi handle
    };
    std::unique_ptr<Run> run_;  ///< null once the answer is over
    Place place_;               ///< once the answer is over: until its last piece is taken
};

}  // namespace offgil::net
