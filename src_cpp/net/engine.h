// One thread that runs the requests of event loops.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <variant>
#include <vector>

#include "net/mailbox.h"
#include "net/request.h"
#include "net/running.h"

namespace offgil::net {

/// Drives one multi handle for any number of event loops, each of which has a mailbox.  The thread starts
/// with the first request and ends when the pool is closed.
///
/// Locking: `mutex_` guards `commands_`, `next_tag_`, `thread_`, `asleep_` and `stopped_`, and keeps
/// `running_` alive for who has seen `stopped_` unset; it is held for moving a command and for a
/// curl_multi_wakeup.  `joining_` admits one thread at a time to join(), and is taken first.  What stands
/// below the line belongs to the engine's thread, which holds no lock while libcurl runs, and knows no
/// Python.
class Engine {
  public:
    /// `pool` must outlive the engine.
    explicit Engine(Pool &pool);
    ~Engine();
    Engine(const Engine &) = delete;
    Engine &operator=(const Engine &) = delete;

    // These are for any thread, and wait for nothing.

    /// Starts a request.  Its end comes as an event with the tag that is returned; nothing is, once the pool
    /// is closed. With `pieces` the event comes with the head of the answer, and brings a feed.
    std::optional<std::uint64_t> submit(Request request, std::shared_ptr<Mailbox> mailbox, bool pieces);

    /// An event after `span`, or an error before it if `cancel` or a close says so.
    std::optional<std::uint64_t> pause(Nanos span, std::shared_ptr<CancelToken> cancel,
                                       std::shared_ptr<Mailbox> mailbox);

    /// Ends what has that tag, and its connection if it is in use, without an event.
    void cancel(std::uint64_t tag);

    /// Ends all that `mailbox` waits for, without an event, and drops those that it has.
    void abandon(const std::shared_ptr<Mailbox> &mailbox);

    /// Makes the engine look which feeds have room again.
    void nudge();

    /// Waits for the thread, which is quick once the pool is closed.
    void join();

  private:
    /// A request or a pause, from its submission to its last event.
    struct Call {
        std::uint64_t tag = 0;
        std::shared_ptr<Mailbox> mailbox;
        std::shared_ptr<Feed> feed;
        Request request;  ///< until it starts
        bool pauses = false;
        bool piped = false;  ///< while it runs: somebody feeds its body
        Nanos submitted = 0;
        Nanos until = kNever;           ///< of the request as a whole, or of the pause
        Nanos pool_until = kNever;      ///< of the wait for one of max_connections
        CancelToken::Link link;         ///< while it waits
        Running::Item *item = nullptr;  ///< while it runs
    };
    struct Cancel {
        std::uint64_t tag;
    };
    struct Abandon {
        std::shared_ptr<Mailbox> mailbox;
    };
    using Command = std::variant<std::unique_ptr<Call>, Cancel, Abandon>;

    std::optional<std::uint64_t> enqueue(std::unique_ptr<Call> call);
    void send(Command command);
    void push(Command command);

    Pool &pool_;
    std::mutex mutex_;
    std::mutex joining_;
    std::vector<Command> commands_;
    std::uint64_t next_tag_ = 1;
    bool asleep_ = false;   ///< the thread looks at commands only once it is woken
    bool stopped_ = false;  ///< nobody looks at commands any more
    std::thread thread_;

    // ---- the engine's thread ----

    using Waiting = std::map<std::uint64_t, Call *>;  ///< by tag, which is the order of submission

    void run();
    void loop();
    bool receive();
    bool may_sleep();
    void wait_or_start(Call &call);
    bool room() const {
        return running_->items().size() + unread_->count.load() < pool_.config().max_connections;
    }
    void start(Call &call);
    bool admit();
    void expire(Nanos now, bool woken);
    void expire(Waiting &waiting, Nanos now, bool woken);
    void pump(Nanos now);
    bool pump(Running::Item &item, Nanos now);
    void feed_uploads(Nanos now);
    bool feed_upload(Running::Item &item, Nanos now);
    void on_end(Running::Item &item, Result result);
    void fail(Call &call, ErrorKind kind);
    void drop(Call &call);
    void forget(Call &call);
    void post(Call &call, Event event);
    void ring();
    void bound_connections(Nanos now);

    std::unordered_map<std::uint64_t, std::unique_ptr<Call>> calls_;
    Waiting queue_;  ///< for one of max_connections
    Waiting pauses_;
    Nanos scan_at_ = kNever;  ///< nothing that waits is overdue before this
    const std::shared_ptr<Unread> unread_ = std::make_shared<Unread>();
    std::size_t feeds_ = 0;                          ///< running transfers that have one
    std::size_t pipes_ = 0;                          ///< running transfers whose body somebody feeds
    std::size_t busiest_ = 0;                        ///< transfers at once since lower_at_ was set
    Nanos lower_at_ = 0;                             ///< when the bound on connections may be lowered
    long kept_ = 0;                                  ///< that bound, as libcurl was told
    std::vector<std::shared_ptr<Mailbox>> to_ring_;  ///< got events in this turn
    std::unique_ptr<Running> running_;               // last: it goes first
};

}  // namespace offgil::net
