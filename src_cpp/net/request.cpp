#include "net/request.h"

#include <algorithm>
#include <array>

namespace offgil::net {

namespace {

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

/// Which bytes a token may hold; every name of every header is looked up here.
constexpr std::array<bool, 256> kTokenBytes = [] {
    std::array<bool, 256> allowed{};
    for (char c = 'a'; c <= 'z'; ++c) allowed[static_cast<unsigned char>(c)] = true;
    for (char c = 'A'; c <= 'Z'; ++c) allowed[static_cast<unsigned char>(c)] = true;
    for (char c = '0'; c <= '9'; ++c) allowed[static_cast<unsigned char>(c)] = true;
    for (char c : std::string_view("!#$%&'*+-.^_`|~")) allowed[static_cast<unsigned char>(c)] = true;
    return allowed;
}();

}  // namespace

bool is_token(std::string_view text) {
    auto allowed = [](char c) { return kTokenBytes[static_cast<unsigned char>(c)]; };
    return !text.empty() && std::ranges::all_of(text, allowed);
}

bool valid_header(std::string_view name, std::string_view value) {
    return is_token(name) && std::ranges::all_of(value, [](char c) {
               auto byte = static_cast<unsigned char>(c);
               return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
           });
}

bool valid_url_bytes(std::string_view url) {
    return std::ranges::all_of(url, [](char c) { return c > 0x20 && c < 0x7f; });
}

bool idempotent(std::string_view method) {
    static constexpr std::array<std::string_view, 6> methods{"GET", "HEAD",   "OPTIONS",
                                                             "PUT", "DELETE", "TRACE"};
    return std::ranges::find(methods, method) != methods.end();
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

std::string_view origin_of(std::string_view url) {
    std::size_t scheme_end = url.find("://");
    std::size_t start = scheme_end == std::string_view::npos ? 0 : scheme_end + 3;
    return url.substr(0, url.find_first_of("/?#", start));
}

}  // namespace offgil::net
