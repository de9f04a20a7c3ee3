#include "net/version.h"

#include <curl/curl.h>

#include <array>
#include <utility>

namespace offgil::net {

LibcurlInfo libcurl_info() {
    const curl_version_info_data *data = curl_version_info(CURLVERSION_NOW);
    LibcurlInfo info;
    info.version = data->version;
    if (data->ssl_version) info.tls_backend = data->ssl_version;
    // feature_names[] exists from 7.87 on; the bits have always been there.
    static constexpr std::array<std::pair<int, const char *>, 12> names{{
        {CURL_VERSION_ASYNCHDNS, "AsynchDNS"},
        {CURL_VERSION_BROTLI, "brotli"},
        {CURL_VERSION_HTTP2, "HTTP2"},
        {CURL_VERSION_HTTP3, "HTTP3"},
        {CURL_VERSION_HTTPS_PROXY, "HTTPS-proxy"},
        {CURL_VERSION_IDN, "IDN"},
        {CURL_VERSION_IPV6, "IPv6"},
        {CURL_VERSION_LIBZ, "libz"},
        {CURL_VERSION_SSL, "SSL"},
        {CURL_VERSION_THREADSAFE, "threadsafe"},
        {CURL_VERSION_UNIX_SOCKETS, "UnixSockets"},
        {CURL_VERSION_ZSTD, "zstd"},
    }};
    for (auto [bit, name] : names)
        if (data->features & bit) info.features.emplace_back(name);
    for (const char *const *p = data->protocols; *p; ++p) info.protocols.emplace_back(*p);
    return info;
}

}  // namespace offgil::net
