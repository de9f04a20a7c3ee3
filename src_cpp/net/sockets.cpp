// The raw sockets that libcurl holds for one pool, so that a forked child can let go of them.
//
// === Fork ===
//
// After fork(2) parent and child share every TCP connection: an answer meant for one can be read by the
// other, and a TLS close_notify from the child ends the parent's session.  So the child closes its copies of
// the descriptors, which says nothing to the peers, and forgets the handles on top of them (see
// Client::pool).
//
// pthread_atfork runs for every fork, from Python or not.  Its handlers take the registry's lock and then
// every set's, always in that order; nobody else holds two of them.

#include "net/sockets.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <new>

namespace offgil::net {

namespace {

/// Locking: `mutex` guards `sets`; taken before any set's own mutex.
struct Registry {
    std::mutex mutex;
    std::unordered_set<SocketSet *> sets;
    std::atomic<std::uint32_t> generation{0};
};

}  // namespace

struct ForkHandlers {
    static Registry &registry();

    static void before() {
        registry().mutex.lock();
        for (SocketSet *set : registry().sets) set->mutex_.lock();
    }

    static void in_parent() {
        for (SocketSet *set : registry().sets) set->mutex_.unlock();
        registry().mutex.unlock();
    }

    static void in_child() {
        for (SocketSet *set : registry().sets) {
            for (curl_socket_t socket : set->open_) ::close(socket);
            set->open_.clear();
            set->kept_.clear();
        }
        registry().generation.fetch_add(1, std::memory_order_relaxed);
        in_parent();
    }
};

Registry &ForkHandlers::registry() {
    // Never destroyed: the handlers stay registered until the process is gone.
    static Registry *instance = [] {
        auto *made = new Registry;
        pthread_atfork(&before, &in_parent, &in_child);
        return made;
    }();
    return *instance;
}

std::uint32_t fork_generation() {
    return ForkHandlers::registry().generation.load(std::memory_order_relaxed);
}

SocketSet::SocketSet() {
    Registry &registry = ForkHandlers::registry();
    std::lock_guard lock(registry.mutex);
    registry.sets.insert(this);
}

SocketSet::~SocketSet() {
    Registry &registry = ForkHandlers::registry();
    std::lock_guard lock(registry.mutex);
    registry.sets.erase(this);
}

void SocketSet::watch(CURL *easy) {
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, &SocketSet::on_open);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, this);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, &SocketSet::on_close);
    curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, this);
}

void SocketSet::keep(int local_port, curl_socket_t socket) {
    std::lock_guard lock(mutex_);
    if (open_.contains(socket)) kept_[key_of(local_port, socket)] = socket;
}

bool SocketSet::spoilt(int local_port, curl_socket_t socket) {
    {
        std::lock_guard lock(mutex_);
        auto kept = kept_.find(key_of(local_port, socket));
        if (kept == kept_.end()) return false;
        socket = kept->second;
    }
    // The caller's own connection, so nobody else closes it; a look at a wrong one would do no harm.
    char byte = 0;
    return ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno != EAGAIN;
}

curl_socket_t SocketSet::on_open(void *self, curlsocktype, curl_sockaddr *address) {
    auto *set = static_cast<SocketSet *>(self);
    // The lock spans socket(2): a fork between the call and the insertion would hide the socket from the
    // child.
    std::lock_guard lock(set->mutex_);
    curl_socket_t socket = ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (socket == CURL_SOCKET_BAD) return socket;
    try {
        set->open_.insert(socket);
    } catch (const std::bad_alloc &) {
        ::close(socket);
        return CURL_SOCKET_BAD;
    }
    return socket;
}

int SocketSet::on_close(void *self, curl_socket_t socket) {
    auto *set = static_cast<SocketSet *>(self);
    std::lock_guard lock(set->mutex_);
    set->open_.erase(socket);
    std::erase_if(set->kept_, [socket](const auto &kept) { return kept.second == socket; });
    return ::close(socket);
}

}  // namespace offgil::net
