// One HTTP request as the core sees it: everything resolved, validated and encoded.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/cancel.h"
#include "net/clock.h"
#include "net/pipe.h"
#include "net/upload.h"

namespace offgil::net {

/// Limits of one request, in nanoseconds; kNever for none.  `read` and `write` are limits on inactivity.
struct Timeouts {
    Nanos connect = kNever;
    Nanos read = kNever;
    Nanos write = kNever;
    Nanos pool = kNever;   ///< waiting for one of max_connections
    Nanos total = kNever;  ///< from the call to the last byte
};

struct Header {
    std::string name;
    std::string value;
    bool omitted = false;  ///< of a request: the client's default of that name is not sent
};

struct Request {
    std::string method;
    std::string url;
    std::vector<Header> headers;             ///< on top of the client's defaults, which they replace by name
    std::string_view body;                   ///< borrowed: must outlive the transfer
    std::shared_ptr<const void> body_owner;  ///< keeps `body` alive; null if the caller does
    bool has_body = false;                   ///< an empty body is not the same as none
    std::shared_ptr<Upload> upload;          ///< the body, if it is not `body`; null otherwise
    std::shared_ptr<Pipe> pipe;              ///< where `upload` is fed from; null if it needs no feeder
    std::string target;      ///< what the request line asks for; empty for the URL's path and query
    std::string connect_to;  ///< "::host:port" where the connection leads; empty for the URL's host
    int save_to = -1;        ///< descriptor, borrowed, of a file that takes a 2xx answer's body
    std::shared_ptr<const void> save_to_owner;  ///< keeps `save_to` open; null if the caller does
    Timeouts timeouts;
    std::shared_ptr<CancelToken> cancel;  ///< may be null
};

/// Whether a name is a token and a value free of control characters (RFC 9110, section 5): nothing that
/// passes can end a header line early.
bool valid_header(std::string_view name, std::string_view value);

/// Whether a method or a header's name is a token (RFC 9110, section 5.6.2).
bool is_token(std::string_view text);

/// Whether a URL is printable ASCII without spaces: anything else must be percent-encoded by the caller.
bool valid_url_bytes(std::string_view url);

/// Whether sending the request a second time is harmless by definition (RFC 9110, section 9.2.2).
bool idempotent(std::string_view method);

/// ASCII-only comparison, as header names want it.
bool equal_ignoring_case(std::string_view a, std::string_view b);

/// "http://host:port" of an absolute URL: what connections are pooled by.  No normalisation: two spellings of
/// one origin merely get two pools.
std::string_view origin_of(std::string_view url);

}  // namespace offgil::net
