// What every request of one client shares.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "net/ca_store.h"
#include "net/request.h"

namespace offgil::net {

/// Immutable once a pool has it; read by any thread without a lock.
struct Config {
    std::vector<Header> default_headers;
    bool verify = true;   ///< check the server's certificate and host name
    std::string ca_file;  ///< PEM bundle; empty for the system's
    /// Where `ca_file` is parsed once for all handles; null where libcurl has to do it per handle.
    std::shared_ptr<CaStore> ca_store;
};

}  // namespace offgil::net
