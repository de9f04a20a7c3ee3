// Requests of the tests of net, and what became of them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "net/client.h"
#include "net/mailbox.h"

/// `body` is borrowed.
inline offgil::net::Request request(const std::string &method, const std::string &url,
                                    std::string_view body = {}) {
    offgil::net::Request made;
    made.method = method;
    made.url = url;
    made.body = body;
    made.has_body = !body.empty();
    return made;
}

inline offgil::net::Request get(const std::string &url,
                                std::shared_ptr<offgil::net::CancelToken> cancel = nullptr) {
    offgil::net::Request made = request("GET", url);
    made.cancel = std::move(cancel);
    return made;
}

inline offgil::net::Config at_most(std::size_t connections) {
    offgil::net::Config config;
    config.max_connections = connections;
    return config;
}

/// The answer's body, or what went wrong instead.
template <typename... Outcomes>
std::string body_of(const std::variant<Outcomes...> &outcome) {
    if (const auto *error = std::get_if<offgil::net::Error>(&outcome)) return error->message;
    const auto *response = std::get_if<offgil::net::Response>(&outcome);
    return response ? std::string(response->body.data(), response->body.size()) : "no response";
}

inline std::string body_of(const offgil::net::Event &event) {
    return body_of(event.outcome);
}

template <typename... Outcomes>
bool failed_as(const std::variant<Outcomes...> &outcome, offgil::net::ErrorKind kind) {
    const auto *error = std::get_if<offgil::net::Error>(&outcome);
    return error && error->kind == kind;
}

inline bool failed_as(const offgil::net::Event &event, offgil::net::ErrorKind kind) {
    return failed_as(event.outcome, kind);
}
