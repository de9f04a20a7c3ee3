// The raw sockets that libcurl holds for one pool, so that a forked child can let go of them.
#pragma once

#include <curl/curl.h>

#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <unordered_set>

namespace offgil::net {

/// Counts the forks between the process that loaded offgil and this one.  What remembers an older count
/// belongs to an ancestor: it must be neither used nor cleaned up, because a TLS goodbye would reach the
/// ancestor's peer.
std::uint32_t fork_generation();

/// The open sockets of one pool, recorded through libcurl's callbacks.
///
/// Locking: `mutex_` guards `open_` and `kept_`.  It is held for a set operation or a socket(2) or
/// close(2) call, and by the forking thread across fork(2), so that the child sees a whole set.
class SocketSet {
  public:
    SocketSet();
    ~SocketSet();
    SocketSet(const SocketSet &) = delete;
    SocketSet &operator=(const SocketSet &) = delete;

    /// Makes libcurl open and close `easy`'s sockets through this set, which must outlive the handle.
    void watch(CURL *easy);

    /// Remembers the socket of a connection that is kept, by its local port, or 0 for a Unix socket, which
    /// has none; CURL_SOCKET_BAD is ignored.
    void keep(int local_port, curl_socket_t socket);

    /// Whether the kept connection of that port, or of that socket, if it is one, was closed by the server
    /// meanwhile, or has bytes waiting that nobody asked for.
    bool spoilt(int local_port, curl_socket_t socket);

  private:
    friend struct ForkHandlers;

    static curl_socket_t on_open(void *self, curlsocktype purpose, curl_sockaddr *address);
    static int on_close(void *self, curl_socket_t socket);

    std::mutex mutex_;
    std::unordered_set<curl_socket_t> open_;
    /// The key of `kept_`: below 0 for a Unix socket.
    static int key_of(int local_port, curl_socket_t socket) { return local_port > 0 ? local_port : -socket; }

    // Two connections may share a port if their servers differ: then the later one is remembered.
    std::unordered_map<int, curl_socket_t> kept_;
};

}  // namespace offgil::net
