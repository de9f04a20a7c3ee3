#include "net/route.h"

#include <new>

#include "net/easy.h"
#include "net/request.h"

namespace offgil::net {

const Proxy *Route::proxy_for(std::string_view url) const {
    if ((!for_http && !for_https) || !unix_socket.empty()) return nullptr;
    const std::optional<Proxy> &proxy =
        equal_ignoring_case(url.substr(0, 6), "https:") ? for_https : for_http;
    return proxy && !no_proxy.covers(url) ? &*proxy : nullptr;
}

bool Route::needs_fresh_connection(std::string_view url) const {
    static const unsigned version = curl_version_info(CURLVERSION_NOW)->version_num;
    return http_version == HttpVersion::http2 && version >= 0x075800 && version < 0x080000 &&
           equal_ignoring_case(url.substr(0, 5), "http:");
}

void add_proxy_header(Route &route, const std::string &name, const std::string &value) {
    const std::string line = value.empty() ? name + ";" : name + ": " + value;
    curl_slist *longer = curl_slist_append(route.proxy_headers.get(), line.c_str());
    if (!longer) throw std::bad_alloc();
    if (!route.proxy_headers) route.proxy_headers = {longer, &curl_slist_free_all};
}

void set_route(CURL *easy, const Route &route) {
    switch (route.http_version) {
        case HttpVersion::http1:
            set(easy, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
            break;
        case HttpVersion::negotiate:
            set(easy, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_2TLS});
            break;
        case HttpVersion::http2:
            set(easy, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE});
            break;
    }
    // A burst of requests waits for the first connection to say whether it takes them all.
    if (route.http_version != HttpVersion::http1) set(easy, CURLOPT_PIPEWAIT, 1L);
    if (!route.unix_socket.empty()) set(easy, CURLOPT_UNIX_SOCKET_PATH, route.unix_socket.c_str());
    // libcurl must not read the environment: other threads of a Python program may change it meanwhile.
    set(easy, CURLOPT_NOPROXY, "");
    set_proxy(easy, nullptr);
    set(easy, CURLOPT_PROXYHEADER, route.proxy_headers.get());
    if (!route.local_address.empty()) set(easy, CURLOPT_INTERFACE, ("host!" + route.local_address).c_str());
    set(easy, CURLOPT_MAXAGE_CONN, route.longest_idle);
    // Nor try Kerberos where a SOCKS proxy offers it.
    set(easy, CURLOPT_SOCKS5_AUTH, static_cast<long>(CURLAUTH_BASIC));
}

void set_proxy(CURL *easy, const Proxy *proxy) {
    set(easy, CURLOPT_PROXY, proxy ? proxy->url.c_str() : "");
    const bool named = proxy && !(proxy->user.empty() && proxy->password.empty());
    set(easy, CURLOPT_PROXYUSERNAME, named ? proxy->user.c_str() : nullptr);
    set(easy, CURLOPT_PROXYPASSWORD, named ? proxy->password.c_str() : nullptr);
}

}  // namespace offgil::net
