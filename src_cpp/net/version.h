// What the linked libcurl is and can do.
#pragma once

#include <string>
#include <vector>

namespace offgil::net {

struct LibcurlInfo {
    std::string version;      ///< "7.88.1"
    std::string tls_backend;  ///< "OpenSSL/3.0.19", empty without TLS
    std::vector<std::string> features;
    std::vector<std::string> protocols;
};

/// Reads the run-time library, not the headers: the two may differ on a user's machine.
LibcurlInfo libcurl_info();

}  // namespace offgil::net
