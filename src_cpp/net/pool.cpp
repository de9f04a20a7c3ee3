#include "net/pool.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "net/engine.h"

namespace offgil::net {

namespace {

void sleep_until(std::condition_variable &condition, std::unique_lock<std::mutex> &lock, Nanos until) {
    if (until == kNever) return condition.wait(lock);
    const std::chrono::nanoseconds span(std::max<Nanos>(until - monotonic_now(), 0));
#if defined(__SANITIZE_THREAD__)
    // GCC 12's sanitizer does not know pthread_cond_clockwait, which a steady clock takes.
    condition.wait_until(lock, std::chrono::system_clock::now() + span);
#else
    condition.wait_for(lock, span);
#endif
}

}  // namespace

Pool::Pool(const Config &config) : config_(config), generation_(fork_generation()) {
    Tls &tls = config_.tls;
    if (tls.verify && CaStore::usable())
        tls.ca_store = tls.ca_pem.empty() ? CaStore::shared(tls.ca_file)
                                          : std::make_shared<CaStore>(tls.ca_pem, tls.verify_flags);
}

Pool::~Pool() = default;

void GiveBack::operator()(Slot *slot) const {
    pool->release(std::unique_ptr<Slot>(slot));
}

Place Pool::occupy() {
    if (config_.max_connections == kUnbounded) return nullptr;
    std::lock_guard lock(mutex_);
    ++lent_;
    return Place(this);
}

void Leave::operator()(Pool *pool) const {
    std::lock_guard lock(pool->mutex_);
    --pool->lent_;
    pool->turn_.notify_one();
}

template <typename Ready>
std::optional<ErrorKind> Pool::sleep(std::condition_variable &condition, std::unique_lock<std::mutex> &lock,
                                     const Patience &patience, Ready &&ready) {
    Nanos ask_at = deadline_after(monotonic_now(), patience.interrupt.every);
    for (;;) {
        if (closed_) return ErrorKind::closed;
        if (patience.cancel && patience.cancel->cancelled()) return ErrorKind::cancelled;
        if (ready()) return std::nullopt;
        const Nanos now = monotonic_now();
        if (now >= patience.until) return ErrorKind::pool_timeout;
        if (now >= ask_at) {
            lock.unlock();
            const bool interrupted = patience.interrupt();
            lock.lock();
            if (interrupted) return ErrorKind::interrupted;
            ask_at = deadline_after(now, patience.interrupt.every);
            continue;
        }
        sleep_until(condition, lock, std::min(patience.until, ask_at));
    }
}

std::variant<Lease, ErrorKind> Pool::acquire(std::string_view origin, const Patience &patience) {
    CancelToken::Link link(patience.cancel, *this);
    std::unique_ptr<Slot> surplus;  // destroyed after the lock: that closes a connection
    {
        std::unique_lock lock(mutex_);
        auto failed = sleep(turn_, lock, patience, [this] { return lent_ < config_.max_connections; });
        if (failed) {
            // It may have been woken for a turn that it does not take.
            turn_.notify_one();
            return *failed;
        }
        // Newest first: its connection is the least likely to have been closed by the server, its memory is
        // warm.
        for (auto it = idle_.rbegin(); it != idle_.rend(); ++it) {
            if ((*it)->origin != origin) continue;
            busy_.insert(&(*it)->multi);  // throws before there is a lease, whose end would take the lock
            Lease slot(it->release(), {this});
            idle_.erase(std::next(it).base());
            ++lent_;
            return slot;
        }
        ++lent_;
        // An idle connection counts, too: one that leads elsewhere makes room.
        if (!idle_.empty() && lent_ + idle_.size() > config_.max_connections) {
            surplus = std::move(idle_.front());
            idle_.erase(idle_.begin());
        }
    }
    std::unique_ptr<Slot> fresh;
    try {
        fresh = std::make_unique<Slot>(config_, sockets_);
        fresh->origin = origin;
    } catch (...) {
        std::lock_guard lock(mutex_);
        --lent_;
        turn_.notify_one();
        throw;
    }
    Lease slot(fresh.release(), {this});
    if (!enlist(&slot->multi)) return ErrorKind::closed;
    return slot;
}

std::optional<ErrorKind> Pool::pause(const Patience &patience) {
    CancelToken::Link link(patience.cancel, *this);
    std::unique_lock lock(mutex_);
    auto ended = sleep(pause_, lock, patience, [] { return false; });
    return ended == ErrorKind::pool_timeout ? std::nullopt : ended;
}

void Pool::wake() {
    std::lock_guard lock(mutex_);
    turn_.notify_all();
    pause_.notify_all();
}

void Pool::release(std::unique_ptr<Slot> slot) {
    std::unique_ptr<Slot> surplus;  // destroyed after the lock
    std::lock_guard lock(mutex_);
    busy_.erase(&slot->multi);
    --lent_;
    turn_.notify_one();
    if (closed_ || config_.max_keepalive == 0) {
        surplus = std::move(slot);
        return;
    }
    if (idle_.size() >= config_.max_keepalive) {
        surplus = std::move(idle_.front());
        idle_.erase(idle_.begin());
    }
    idle_.push_back(std::move(slot));
}

bool Pool::enlist(Multi *multi) {
    std::lock_guard lock(mutex_);
    if (closed_) return false;
    busy_.insert(multi);
    return true;
}

void Pool::dismiss(Multi *multi) {
    std::lock_guard lock(mutex_);
    busy_.erase(multi);
}

Engine &Pool::engine() {
    {
        std::lock_guard lock(mutex_);
        if (engine_) return *engine_;
    }
    auto fresh = std::make_unique<Engine>(*this);  // enlists itself, and so takes the lock
    std::unique_ptr<Engine> surplus;
    std::lock_guard lock(mutex_);
    (engine_ ? surplus : engine_) = std::move(fresh);
    return *engine_;
}

void Pool::close() {
    std::vector<std::unique_ptr<Slot>> idle;
    Engine *engine = nullptr;
    {
        std::lock_guard lock(mutex_);
        closed_ = true;
        idle.swap(idle_);
        for (Multi *multi : busy_) multi->close();
        turn_.notify_all();
        pause_.notify_all();
        engine = engine_.get();
    }
    if (engine) engine->join();
}

}  // namespace offgil::net
