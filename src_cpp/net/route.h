// By what way a client's requests go to their servers.
#pragma once

#include <curl/curl.h>

#include <optional>
#include <string>
#include <string_view>

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

struct Route {
    std::optional<Proxy> for_http, for_https;
    NoProxy no_proxy;
    std::string unix_socket;  ///< where every connection goes; empty for TCP
    HttpVersion http_version = HttpVersion::http1;

    /// The proxy between here and `url`; null for none.
    const Proxy *proxy_for(std::string_view url) const;

    /// Whether each request has to have a connection of its own: libcurl 7.88 breaks an HTTP/2 connection
    /// without TLS at the second request.
    bool needs_fresh_connection(std::string_view url) const;
};

/// Sets what is the same for every request.
void set_route(CURL *easy, const Route &route);

/// Sets what proxy_for() said.
void set_proxy(CURL *easy, const Proxy *proxy);

}  // namespace offgil::net
