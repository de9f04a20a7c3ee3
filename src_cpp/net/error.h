// What can go wrong with a request, in the terms of offgil.errors.
#pragma once

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
    closed,       ///< the client was closed before or during the call
    interrupted,  ///< the interrupt hook said so; the binding knows why
};

struct Error {
    ErrorKind kind;
    std::string message;  ///< a full sentence: method, URL, what happened
};

}  // namespace offgil::net
