// What a client asks of TLS, and how it shows who it is.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <optional>
#include <string>

#include "net/ca_store.h"

namespace offgil::net {

struct Tls {
    bool verify = true;        ///< check the server's certificate and host name
    std::string ca_file;       ///< PEM bundle; empty for the system's
    std::string cert_file;     ///< PEM chain of the client; empty for none
    std::string key_file;      ///< its PEM key
    std::string key_password;  ///< empty if the key is not encrypted
    int lowest = 12;           ///< version times ten: 10 to 13
    int highest = 0;           ///< the same; 0 for the newest that libcurl knows
    /// Where `ca_file` is parsed once for all handles; null where libcurl has to do it per handle.
    std::shared_ptr<CaStore> ca_store;
};

/// Sets `easy` up for connections to servers and to https:// proxies; `tls` must outlive the handle.
void set_tls(CURL *easy, const Tls &tls);

/// Why `tls`' certificate and key cannot be used: the file, and what is wrong with it.  Reads both files.
std::optional<std::string> certificate_problem(const Tls &tls);

}  // namespace offgil::net
