// The body of a streamed answer on its way from the engine's thread to a reader.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "net/clock.h"
#include "net/error.h"
#include "net/response.h"

namespace offgil::net {

/// Answers that are over, with bytes that nobody has taken: they, too, count as connections in use.
///
/// Locking: both members are atomic.  Whoever counts down looks at `wanted` after it, whoever sets `wanted`
/// looks at `count` after it, so that one of them sees the other.
struct Unread {
    std::atomic<std::size_t> count{0};
    std::atomic<bool> wanted{false};  ///< the engine waits for the count to fall
};

/// A bounded pipe with one writer, the engine's thread, and one reader.
///
/// The reader is told that there is something only if it has asked and got nothing: a slow one finds all that
/// came meanwhile in one piece, and costs the writer nothing.
///
/// Locking: `mutex_` guards every member but `request_`, which never changes; it is held for moving or
/// appending a piece, never while libcurl runs.
class Feed {
  public:
    /// `request` is "METHOD URL", for the error of a closed feed.
    explicit Feed(std::string request) : request_(std::move(request)) {}
    ~Feed() { close(); }
    Feed(const Feed &) = delete;
    Feed &operator=(const Feed &) = delete;

    // The writer's side.

    /// Whether there is enough for now.  Then the reader's next take() asks for a refill.
    bool full();

    /// Both return whether the reader waits and must be told.
    bool add(Body bytes);
    bool finish(std::optional<Error> error);

    /// After finish(): counts the feed in `unread` until its bytes are taken.
    void hold(std::shared_ptr<Unread> unread);

    /// Since when the reader waits; `now` if it does not.
    Nanos wanted_since(Nanos now);

    // The reader's side.

    struct Nothing {};  ///< yet: the reader waits from now on
    struct End {};
    struct Taken {
        std::variant<Body, Nothing, End, Error> what;
        bool refill = false;  ///< the writer held something back, or waits for room, and must be told
    };

    /// All bytes that are there; else how the body ended, at each further call too; else nothing yet.
    Taken take();

    /// Drops what is unread; a body that was not taken to its end fails from now on.  Whether the writer must
    /// be told.
    bool close();

  private:
    bool tell();
    bool let_go();

    const std::string request_;
    std::mutex mutex_;
    Body bytes_;
    bool over_ = false;
    bool refill_ = false;
    std::optional<Error> error_;
    std::shared_ptr<Unread> held_;
    Nanos wanted_since_ = kNever;
};

}  // namespace offgil::net
