// What a client asks of TLS, and how it shows who it is.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <optional>
#include <string>

#include "net/ca_store.h"

namespace offgil::net {

struct Tls {
    bool verify = true;              ///< check the server's certificate
    bool check_hostname = true;      ///< and, with `verify`, that it is for the URL's host
    std::string ca_file;             ///< PEM bundle or folder; empty for the system's
    std::string ca_pem;              ///< the bundle itself, in place of a file
    unsigned long verify_flags = 0;  ///< OpenSSL's X509_V_FLAG_*, on top of the usual
    std::string cert_file;           ///< PEM chain of the client; empty for none
    std::string key_file;            ///< its PEM key
    std::string key_password;        ///< empty if the key is not encrypted
    int lowest = 12;                 ///< version times ten: 10 to 13
    int highest = 0;                 ///< the same; 0 for the newest that libcurl knows
    /// Where `ca_file` is parsed once for all handles; null where libcurl has to do it per handle.
    std::shared_ptr<CaStore> ca_store;
};

/// Sets `easy` up for connections to servers and to https:// proxies; `tls` must outlive the handle.
void set_tls(CURL *easy, const Tls &tls);

/// What a TLS connection agreed on.  The names are OpenSSL's and live as long as the program.
struct TlsSession {
    const char *version = nullptr;  ///< "TLSv1.3"; null without TLS, or where libcurl's OpenSSL is not ours
    const char *cipher = nullptr;
    const char *cipher_protocol = nullptr;
    int cipher_bits = 0;
    std::string alpn;         ///< "h2", "http/1.1" or empty
    std::string certificate;  ///< the server's, in DER
};

/// Describes the connection that `easy` uses now.
TlsSession describe_tls(CURL *easy);

/// Why `tls`' certificate and key cannot be used: the file, and what is wrong with it.  Reads both files.
std::optional<std::string> certificate_problem(const Tls &tls);

}  // namespace offgil::net
