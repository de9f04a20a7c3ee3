#include "net/pool.h"

#include <utility>

namespace offgil::net {

Pool::Pool(const Config &config) : config_(config), generation_(fork_generation()) {
    if (config_.verify && CaStore::usable()) config_.ca_store = std::make_shared<CaStore>(config_.ca_file);
}

Pool::~Pool() = default;

void GiveBack::operator()(Slot *slot) const {
    pool->release(std::unique_ptr<Slot>(slot));
}

Lease Pool::acquire(std::string_view origin) {
    {
        std::lock_guard lock(mutex_);
        if (closed_) return nullptr;
        // Newest first: its connection is the least likely to have been closed by the server, its memory is
        // warm.
        for (auto it = idle_.rbegin(); it != idle_.rend(); ++it) {
            if ((*it)->origin != origin) continue;
            Lease slot(it->release(), {this});
            idle_.erase(std::next(it).base());
            busy_.insert(&slot->multi);
            return slot;
        }
    }
    auto slot = std::make_unique<Slot>(config_, sockets_);
    slot->origin = origin;
    if (!enlist(&slot->multi)) return nullptr;
    return Lease(slot.release(), {this});
}

void Pool::release(std::unique_ptr<Slot> slot) {
    std::unique_ptr<Slot> surplus;  // destroyed after the lock: that closes a connection
    std::lock_guard lock(mutex_);
    busy_.erase(&slot->multi);
    if (closed_) {
        surplus = std::move(slot);
        return;
    }
    if (idle_.size() == kMaxIdle) {
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

void Pool::close() {
    std::vector<std::unique_ptr<Slot>> idle;
    std::lock_guard lock(mutex_);
    closed_ = true;
    idle.swap(idle_);
    for (Multi *multi : busy_) multi->cancel();
}

}  // namespace offgil::net
