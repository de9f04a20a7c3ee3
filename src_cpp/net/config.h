// What every request of one client shares.
#pragma once

#include <cstddef>
#include <limits>
#include <vector>

#include "net/request.h"
#include "net/route.h"
#include "net/tls.h"

namespace offgil::net {

inline constexpr std::size_t kUnbounded = std::numeric_limits<std::size_t>::max();

/// Immutable once a pool has it; read by any thread without a lock.
struct Config {
    std::vector<Header> default_headers;
    std::size_t max_connections = kUnbounded;  ///< blocking calls at one time, idle connections included
    std::size_t max_keepalive = 256;           ///< idle connections
    Tls tls;
    Route route;
    bool decode = true;  ///< asks for compressed bodies, and unpacks them; else they come as they are
    /// Bound on the decoded body of an answer that is held in memory.
    std::size_t max_response_bytes = kUnbounded;
};

}  // namespace offgil::net
