// What every request of one client shares.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "net/ca_store.h"
#include "net/request.h"

namespace offgil::net {

/// Immutable once a pool has it; read by any thread without a lock.
struct Config {
    std::vector<Header> default_headers;
    std::size_t max_connections = SIZE_MAX;  ///< blocking calls at one time, idle connections included
    std::size_t max_keepalive = 256;         ///< idle connections
    bool verify = true;                      ///< check the server's certificate and host name
    std::string ca_file;                     ///< PEM bundle; empty for the system's
    /// Where `ca_file` is parsed once for all handles; null where libcurl has to do it per handle.
    std::shared_ptr<CaStore> ca_store;
};

}  // namespace offgil::net
