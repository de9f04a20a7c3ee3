// One HTTP response: a block of header bytes with offsets, and a block of body bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/body.h"
#include "net/clock.h"
#include "net/tls.h"

namespace offgil::net {

/// The header fields of the final response, without a copy per field.  Stricter than libcurl: names are
/// tokens, values have no CR or NUL, and a folded line is part of the value above it.
class HeaderBlock {
  public:
    enum class Line { status, field, end, trailer, malformed };

    /// Takes one line as libcurl delivers it and says what it is; a malformed one is not kept.  A status line
    /// after the end starts the block anew, so that what stays is the last response of a call: 1xx answers
    /// come first.  Anything else after the end is a trailer and is not kept either.
    [[nodiscard]] Line add_line(std::string_view line);

    /// Whether the blank line came that ends a block.
    bool complete() const { return state_ == State::complete; }

    std::size_t count() const { return fields_.size(); }
    std::string_view name(std::size_t i) const;
    std::string_view value(std::size_t i) const;
    std::string_view reason() const { return std::string_view(bytes_).substr(0, reason_size_); }

    /// The first field of that name, or an empty view.
    std::string_view find(std::string_view name) const;

    /// Whether all Content-Length fields, if any, hold one and the same number (RFC 9112, section 6.3).
    bool lengths_agree() const;

  private:
    enum class State { empty, open, complete };

    Line add_status(std::string_view line);
    Line add_field(std::string_view line);
    Line unfold(std::string_view line);

    // 32 bits are enough for Transfer's bound on the header.
    struct Field {
        std::uint32_t name_at, name_size, value_at, value_size;
    };
    std::string bytes_;  ///< the reason, then each field's name and value
    std::vector<Field> fields_;
    std::uint32_t reason_size_ = 0;
    State state_ = State::empty;
};

/// When each phase was over, in nanoseconds from the start of the transfer; 0 for one that did not happen
/// because the connection stood already.
struct Timings {
    Nanos dns = 0;
    Nanos connect = 0;
    Nanos tls = 0;
    Nanos first_byte = 0;
};

/// Whether a status is 2xx.
inline bool successful(int status) {
    return status >= 200 && status <= 299;
}

struct Address {
    std::string ip;  ///< empty for a Unix socket
    int port = 0;
};

/// What an answer came over.
struct Connection {
    Address here, there;  ///< where there is a proxy, it is there
    bool opened = false;  ///< for this request, or kept from an earlier one
    TlsSession tls;
};

struct Response {
    int status = 0;
    int http_version = 0;  ///< 10, 11, 20 or 30
    std::string url;
    HeaderBlock headers;
    Body body;
    Timings timings;
    Connection connection;  ///< of answers in pieces only
    Nanos elapsed = 0;      ///< from the call to the last byte, the wait for a connection included
};

}  // namespace offgil::net
