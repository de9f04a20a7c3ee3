#include "net/no_proxy.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstddef>

#include "net/request.h"

namespace offgil::net {

namespace {

struct Authority {
    std::string_view host;  ///< an IPv6 address without its brackets
    std::string_view port;
};

Authority split_port(std::string_view text) {
    if (text.starts_with('[')) {
        const std::size_t end = text.find(']');
        if (end == std::string_view::npos) return {text, {}};
        const std::string_view rest = text.substr(end + 1);
        return {text.substr(1, end - 1), rest.starts_with(':') ? rest.substr(1) : std::string_view()};
    }
    const std::size_t colon = text.find(':');
    // Two colons: an IPv6 address, which has no port without brackets.
    if (colon == std::string_view::npos || text.find(':', colon + 1) != std::string_view::npos)
        return {text, {}};
    return {text.substr(0, colon), text.substr(colon + 1)};
}

Authority authority_of(std::string_view url) {
    const std::string_view origin = origin_of(url);
    const std::string_view rest = origin.substr(origin.find("://") + 3);
    Authority found = split_port(rest.substr(rest.rfind('@') + 1));
    if (found.port.empty()) found.port = equal_ignoring_case(origin.substr(0, 5), "https") ? "443" : "80";
    if (found.host.ends_with('.')) found.host.remove_suffix(1);
    return found;
}

bool is_domain_of(std::string_view domain, std::string_view host) {
    if (host.size() < domain.size()) return false;
    const std::size_t start = host.size() - domain.size();
    return equal_ignoring_case(host.substr(start), domain) && (start == 0 || host[start - 1] == '.');
}

}  // namespace

NoProxy::NoProxy(std::string_view list) {
    static constexpr std::string_view separators = ", \t";
    for (std::size_t at = 0; (at = list.find_first_not_of(separators, at)) != std::string_view::npos;) {
        const std::size_t end = std::min(list.find_first_of(separators, at), list.size());
        auto [host, port] = split_port(list.substr(at, end - at));
        at = end;
        if (host == "*") {
            everything_ = true;
            continue;
        }
        if (host.starts_with("*.")) host.remove_prefix(1);
        if (host.starts_with('.')) host.remove_prefix(1);
        if (host.ends_with('.')) host.remove_suffix(1);
        if (!host.empty()) entries_.push_back({std::string(host), std::string(port), parse_network(host)});
    }
}

std::optional<NoProxy::Network> NoProxy::parse_network(std::string_view text) {
    const std::size_t slash = text.find('/');
    const std::string address(text.substr(0, slash));
    Network network{{}, 128};
    int most = 128;
    if (inet_pton(AF_INET6, address.c_str(), &network.address) != 1) {
        if (inet_pton(AF_INET6, ("::ffff:" + address).c_str(), &network.address) != 1) return std::nullopt;
        most = 32;
    }
    if (slash == std::string_view::npos) return network;
    int bits = 0;
    const char *end = text.data() + text.size();
    auto [stop, problem] = std::from_chars(text.data() + slash + 1, end, bits);
    if (problem != std::errc{} || stop != end || bits < 0 || bits > most) return std::nullopt;
    network.bits = bits + 128 - most;
    return network;
}

bool NoProxy::Network::holds(const in6_addr &other) const {
    for (int bit = 0; bit < bits; ++bit) {
        const auto byte = static_cast<std::size_t>(bit / 8);
        if ((address.s6_addr[byte] ^ other.s6_addr[byte]) & (0x80 >> bit % 8)) return false;
    }
    return true;
}

bool NoProxy::covers(std::string_view url) const {
    if (everything_) return true;
    if (entries_.empty()) return false;
    const Authority target = authority_of(url);
    const std::optional<Network> address = parse_network(target.host);
    for (const Entry &entry : entries_) {
        if (!entry.port.empty() && entry.port != target.port) continue;
        const bool found = address ? entry.network && entry.network->holds(address->address)
                                   : is_domain_of(entry.name, target.host);
        if (found) return true;
    }
    return false;
}

}  // namespace offgil::net
