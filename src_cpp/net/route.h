// By what way a client's requests go to their servers.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/no_proxy.h"

namespace offgil::net {

struct Proxy {
    std::string url;  ///< "http://", "https://", "socks5://" or "socks5h://", host and port; never a password
    std::string user;
    std::string password;
};

enum class HttpVersion {
    http1,      ///< 1.1 always
    negotiate,  ///< HTTP/2 where TLS' ALPN agrees on it
    http2,      ///< HTTP/2 without asking, also without TLS
};

/// For setsockopt(2).
struct SocketOption {
    int level;
    int name;
    std::string value;  ///< its bytes
};

struct Route {
    std::optional<Proxy> for_http, for_https;
    NoProxy no_proxy;
    std::shared_ptr<curl_slist> proxy_headers;  ///< for proxies only; null for none
    std::string unix_socket;                    ///< where every connection goes; empty for TCP
    std::string local_address;                  ///< where connections come from; empty for any
    std::vector<SocketOption> socket_options;   ///< set before a socket is connected
    long longest_idle = 118;  ///< seconds that a kept connection is used after; libcurl's own
    HttpVersion http_version = HttpVersion::http1;

    /// The proxy between here and `url`; null for none.
    const Proxy *proxy_for(std::string_view url) const;

    /// Whether each request has to have a connection of its own: libcurl 7.88 breaks an HTTP/2 connection
    /// without TLS at the second request.
    bool needs_fresh_connection(std::string_view url) const;
};

/// Adds a checked header to Route::proxy_headers.
void add_proxy_header(Route &route, const std::string &name, const std::string &value);

/// Sets what is the same for every request.
void set_route(CURL *easy, const Route &route);

/// Sets what proxy_for() said.
void set_proxy(CURL *easy, const Proxy *proxy);

}  // namespace offgil::net
