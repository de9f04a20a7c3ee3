// One thread that runs the requests of event loops.
//
// === One wake-up a group ===
//
// Submitting appends to a list, and writes to libcurl's wake-up descriptor only if the thread sleeps.  The
// thread takes the whole list, runs libcurl once, puts what ended into mailboxes, and rings each mailbox at
// most once.  While a loop is busy with one group the next one gathers, so the more there is to do, the fewer
// system calls each request costs.
//
// === Connections ===
//
// libcurl's bound on kept connections counts those in use, too, and a group of requests that ended is often
// followed by as many new ones.  So it is told a bound that makes room for as many as were in use at once
// within the last second.  What is too much after a burst goes when later requests end, one connection each.
//
// === Ownership ===
//
// A call owns all that it needs: whoever submitted it may go away.  Its end is one event, and calls_ is what
// makes cancelling a call that is over harmless.

#include "net/engine.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <new>
#include <utility>

#include "net/client.h"

namespace offgil::net {

namespace {

constexpr Nanos kSecond = 1000 * kMillisecond;

/// Keeps the threads that are started meanwhile from running signal handlers: they are the program's, and
/// Python's are for its own threads.
class SignalsBlocked {
  public:
    SignalsBlocked() {
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked &) = delete;

  private:
    sigset_t before_;
};

}  // namespace

Engine::Engine(Pool &pool)
    : pool_(pool), running_(std::make_unique<Running>(pool, [this](Running::Item &item, Result result) {
          on_end(item, std::move(result));
      })) {
    // An idle connection that leads elsewhere makes room, as in Pool::acquire.
    constexpr std::size_t many = 1 << 20;
    const std::size_t most = pool.config().max_connections;
    if (most <= many)
        curl_multi_setopt(running_->multi().handle(), CURLMOPT_MAX_TOTAL_CONNECTIONS,
                          static_cast<long>(most));
}

Engine::~Engine() {
    {
        std::lock_guard lock(mutex_);
        if (!stopped_) running_->multi().close();
    }
    join();
}

std::optional<std::uint64_t> Engine::submit(Request request, std::shared_ptr<Mailbox> mailbox, bool pieces) {
    auto call = std::make_unique<Call>();
    call->mailbox = std::move(mailbox);
    if (pieces) call->feed = std::make_shared<Feed>(request.method + " " + request.url);
    call->submitted = monotonic_now();
    call->until = deadline_after(call->submitted, request.timeouts.total);
    call->pool_until = deadline_after(call->submitted, request.timeouts.pool);
    call->request = std::move(request);
    return enqueue(std::move(call));
}

std::optional<std::uint64_t> Engine::pause(Nanos span, std::shared_ptr<CancelToken> cancel,
                                           std::shared_ptr<Mailbox> mailbox) {
    auto call = std::make_unique<Call>();
    call->mailbox = std::move(mailbox);
    call->pauses = true;
    call->until = deadline_after(monotonic_now(), span);
    call->request.cancel = std::move(cancel);
    return enqueue(std::move(call));
}

std::optional<std::uint64_t> Engine::enqueue(std::unique_ptr<Call> call) {
    std::lock_guard lock(mutex_);
    if (stopped_ || running_->multi().closed()) return std::nullopt;
    if (!thread_.joinable()) {
        SignalsBlocked blocked;
        thread_ = std::thread([this] { run(); });
    }
    const std::uint64_t tag = call->tag = next_tag_++;
    if (!call->pauses) pool_.counters().begin();
    push(std::move(call));
    return tag;
}

void Engine::send(Command command) {
    std::lock_guard lock(mutex_);
    if (!stopped_) push(std::move(command));
}

/// With `mutex_` held.
void Engine::push(Command command) {
    commands_.push_back(std::move(command));
    if (std::exchange(asleep_, false)) running_->multi().nudge();
}

void Engine::cancel(std::uint64_t tag) {
    send(Cancel{tag});
}

void Engine::abandon(const std::shared_ptr<Mailbox> &mailbox) {
    send(Abandon{mailbox});
}

void Engine::nudge() {
    std::lock_guard lock(mutex_);
    if (!stopped_) running_->multi().nudge();
}

void Engine::join() {
    std::lock_guard one_at_a_time(joining_);
    std::thread thread;
    {
        std::lock_guard lock(mutex_);
        thread = std::move(thread_);
        if (!thread.joinable()) stopped_ = true;
    }
    if (thread.joinable()) thread.join();
}

// ---- the engine's thread ----

void Engine::run() {
    try {
        loop();
    } catch (const std::bad_alloc &) {
        // What is left is to say so; later requests are refused as after a close.
        running_->multi().close();
    }
    std::vector<Command> commands;
    {
        std::lock_guard lock(mutex_);
        stopped_ = true;
        commands.swap(commands_);
    }
    for (Command &command : commands)
        if (auto *call = std::get_if<std::unique_ptr<Call>>(&command)) {
            const std::uint64_t tag = (*call)->tag;
            calls_.emplace(tag, std::move(*call));
        }
    while (!calls_.empty()) fail(*calls_.begin()->second, ErrorKind::closed);
    ring();
    running_.reset();
}

void Engine::loop() {
    Multi &multi = running_->multi();
    while (!multi.closed()) {
        const bool woken = running_->turn();
        const Nanos now = monotonic_now();
        if (feeds_ > 0) pump(now);
        if (pipes_ > 0) feed_uploads(now);
        bool started = receive();
        if (woken || now >= scan_at_) expire(now, woken);
        started |= admit();
        bound_connections(now);
        ring();
        if (!started && may_sleep() && !multi.poll(now, std::min(running_->due(), scan_at_)))
            running_->expire();
    }
}

bool Engine::may_sleep() {
    std::lock_guard lock(mutex_);
    asleep_ = commands_.empty();
    return asleep_;
}

bool Engine::receive() {
    std::vector<Command> commands;
    {
        std::lock_guard lock(mutex_);
        asleep_ = false;
        commands.swap(commands_);
    }
    for (Command &command : commands) {
        if (auto *made = std::get_if<std::unique_ptr<Call>>(&command)) {
            Call &call = **made;
            calls_.emplace(call.tag, std::move(*made));
            wait_or_start(call);
        } else if (auto *cancel = std::get_if<Cancel>(&command)) {
            if (auto found = calls_.find(cancel->tag); found != calls_.end()) drop(*found->second);
        } else {
            const auto &mailbox = std::get<Abandon>(command).mailbox;
            for (auto it = calls_.begin(); it != calls_.end();) {
                Call &call = *it++->second;
                if (call.mailbox == mailbox) drop(call);
            }
            mailbox->take();  // answers that nobody will read make room for others
        }
    }
    return !commands.empty();
}

void Engine::wait_or_start(Call &call) {
    if (!call.pauses && queue_.empty() && room()) return start(call);
    (call.pauses ? pauses_ : queue_).emplace(call.tag, &call);
    if (!call.pauses) unread_->wanted.store(true);  // admit() looks at the count afterwards
    call.link = CancelToken::Link(call.request.cancel, running_->multi());
    scan_at_ = std::min({scan_at_, call.until, call.pool_until});
}

void Engine::start(Call &call) {
    call.link = {};
    if (call.feed) ++feeds_;
    call.piped = call.request.pipe != nullptr;
    if (call.piped) ++pipes_;
    call.item = &running_->start(std::move(call.request), call.tag, call.until, call.feed);
    if (pool_.config().max_keepalive == 0)
        curl_easy_setopt(call.item->transfer.easy(), CURLOPT_FORBID_REUSE, 1L);
}

bool Engine::admit() {
    bool started = false;
    while (!queue_.empty() && room()) {
        Call &call = *queue_.begin()->second;
        queue_.erase(queue_.begin());
        start(call);
        started = true;
    }
    if (queue_.empty() && unread_->wanted.load(std::memory_order_relaxed)) unread_->wanted.store(false);
    return started;
}

void Engine::expire(Nanos now, bool woken) {
    scan_at_ = kNever;
    expire(queue_, now, woken);
    expire(pauses_, now, woken);
}

void Engine::expire(Waiting &waiting, Nanos now, bool woken) {
    for (auto it = waiting.begin(); it != waiting.end();) {
        Call &call = *it++->second;
        if (woken && call.link.cancelled()) {
            fail(call, ErrorKind::cancelled);
        } else if (now < std::min(call.until, call.pool_until)) {
            scan_at_ = std::min({scan_at_, call.until, call.pool_until});
        } else if (call.pauses) {
            post(call, {call.tag, {}, nullptr});
            forget(call);
        } else {
            fail(call, call.until <= call.pool_until ? ErrorKind::deadline : ErrorKind::pool_timeout);
        }
    }
}

void Engine::pump(Nanos now) {
    const auto &items = running_->items();
    for (std::size_t i = 0; i < items.size();)
        if (!items[i]->feed || pump(*items[i], now)) ++i;
}

/// Moves what came of one answer into its feed; false if that ended it.
bool Engine::pump(Running::Item &item, Nanos now) {
    Transfer &transfer = item.transfer;
    Call &call = *calls_.at(item.tag);
    if (!item.opened) {
        if (!transfer.head_complete()) return true;
        item.opened = true;
        Response head = transfer.take_head(now);
        item.feed->add(std::exchange(head.body, {}));
        post(call, {item.tag, std::move(head), item.feed});
    }
    bool tell = false;
    CURLcode code = CURLE_OK;
    while (transfer.holds() && !item.feed->full() && code == CURLE_OK) {
        tell |= item.feed->add(std::exchange(transfer.body(), {}));
        code = transfer.resume(now);
    }
    if (tell) post(call, {item.tag, {}, nullptr});
    if (code == CURLE_OK) return true;
    running_->fail(item, std::get<Error>(transfer.finish(code, now)));
    return false;
}

/// Lets transfers go on whose feeder has brought something, and asks the others.
void Engine::feed_uploads(Nanos now) {
    const auto &items = running_->items();
    for (std::size_t i = 0; i < items.size();)
        if (!items[i]->request.pipe || !items[i]->transfer.starved() || feed_upload(*items[i], now)) ++i;
}

/// False if that ended the transfer.
bool Engine::feed_upload(Running::Item &item, Nanos now) {
    if (!item.request.upload->refill()) {
        if (item.request.pipe->ask()) post(*calls_.at(item.tag), {item.tag, {}, nullptr});
        return true;
    }
    const CURLcode code = item.transfer.resume_sending(now);
    if (code != CURLE_OK) running_->fail(item, std::get<Error>(item.transfer.finish(code, now)));
    return code == CURLE_OK;
}

void Engine::on_end(Running::Item &item, Result result) {
    Call &call = *calls_.at(item.tag);
    auto *answer = std::get_if<Response>(&result);
    if (answer) answer->elapsed = monotonic_now() - call.submitted;
    if (!item.feed) {
        if (answer)
            post(call, {item.tag, std::move(*answer), nullptr});
        else
            post(call, {item.tag, std::get<Error>(std::move(result)), nullptr});
        return forget(call);
    }
    std::optional<Error> error;
    if (!answer) error = std::get<Error>(std::move(result));
    Transfer &transfer = item.transfer;
    if (!item.opened && error && !transfer.head_complete()) {
        post(call, {item.tag, std::move(*error), nullptr});
        return forget(call);
    }
    // With a head the failure is the body's, after the bytes that came before it.
    Response rest;
    if (answer)
        rest = std::move(*answer);
    else if (!item.opened)
        rest = transfer.take_head(monotonic_now());
    else
        std::swap(rest.body, transfer.body());
    bool tell = item.feed->add(std::exchange(rest.body, {}));
    tell |= item.feed->finish(std::move(error));
    if (pool_.config().max_connections != kUnbounded) item.feed->hold(unread_);
    if (!item.opened)
        post(call, {item.tag, std::move(rest), item.feed});
    else if (tell)
        post(call, {item.tag, {}, nullptr});
    forget(call);
}

/// Ends a call that waits, or one that runs, for a reason that lies on this side.
void Engine::fail(Call &call, ErrorKind kind) {
    if (call.item) return running_->fail(*call.item, failure(kind, call.item->request));
    Error error = call.pauses ? pause_failure(kind) : failure(kind, call.request);
    if (!call.pauses) pool_.counters().end(error, {});
    post(call, {call.tag, std::move(error), nullptr});
    forget(call);
}

/// Ends a call without an event.
void Engine::drop(Call &call) {
    if (call.item)
        running_->drop(*call.item);
    else if (!call.pauses)
        pool_.counters().drop();
    forget(call);
}

void Engine::forget(Call &call) {
    if (call.item && call.feed) --feeds_;
    if (call.piped) --pipes_;
    queue_.erase(call.tag);
    pauses_.erase(call.tag);
    calls_.erase(call.tag);
}

void Engine::post(Call &call, Event event) {
    call.mailbox->put(std::move(event));
    if (std::ranges::find(to_ring_, call.mailbox) == to_ring_.end()) to_ring_.push_back(call.mailbox);
}

void Engine::ring() {
    for (const auto &mailbox : to_ring_) mailbox->ring();
    to_ring_.clear();
}

void Engine::bound_connections(Nanos now) {
    const Config &config = pool_.config();
    busiest_ = std::max(busiest_, running_->items().size());
    constexpr std::size_t many = 1 << 20;
    const std::size_t bound =
        std::min({busiest_ + std::min(config.max_keepalive, many), config.max_connections, 2 * many});
    // To libcurl 0 means a bound of its own.
    const long most = std::max(static_cast<long>(bound), 1L);
    const bool lower = now >= lower_at_;
    if (most > kept_ || (lower && most < kept_)) {
        kept_ = most;
        curl_multi_setopt(running_->multi().handle(), CURLMOPT_MAXCONNECTS, most);
    }
    if (lower) {
        busiest_ = running_->items().size();
        lower_at_ = deadline_after(now, kSecond);
    }
}

}  // namespace offgil::net
