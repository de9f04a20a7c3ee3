// What can go wrong with a request, in the terms of offgil.errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace offgil::net {

/// One value per exception class that the network core can cause; the binding owns the mapping.
enum class ErrorKind : std::uint8_t {
    connect,
    connect_timeout,
    read,
    read_timeout,
    write,
    write_timeout,
    local_protocol,
    remote_protocol,
    proxy,
    unsupported_protocol,
    decoding,
    response_too_large,
    invalid_url,
    pool_timeout,   ///< no connection became free in time
    deadline,       ///< the total time is over
    cancelled,      ///< by a CancelToken
    closed,         ///< the client was closed before or during the call
    stream_closed,  ///< the stream was closed before its body was read
    file,           ///< a local file could not be read or written
    interrupted,    ///< the interrupt hook said so; the binding knows why
    source,         ///< so did the source of the request's body
};

inline constexpr std::size_t kErrorKinds = static_cast<std::size_t>(ErrorKind::source) + 1;

struct Error {
    ErrorKind kind;
    std::string message;    ///< a full sentence: method, URL, what happened
    int os_error = 0;       ///< of a file: errno
    std::string path = {};  ///< of a file
};

}  // namespace offgil::net
