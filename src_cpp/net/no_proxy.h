// Which hosts are asked directly although there is a proxy.
#pragma once

#include <netinet/in.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace offgil::net {

/// The list of the `no_proxy` variable: names, each with its subdomains; addresses; networks as
/// "10.0.0.0/8"; each with a ":port" or without; "*" for every host.  libcurl has such a list, too, but does
/// not say whether it took the proxy, and an error has to.
///
/// Immutable.
class NoProxy {
  public:
    NoProxy() = default;
    explicit NoProxy(std::string_view list);

    bool covers(std::string_view url) const;

  private:
    struct Network {
        in6_addr address;  ///< an IPv4 one as ::ffff:a.b.c.d
        int bits;
        bool holds(const in6_addr &other) const;
    };
    struct Entry {
        std::string name;
        std::string port;  ///< empty for any
        std::optional<Network> network;
    };
    static std::optional<Network> parse_network(std::string_view text);

    std::vector<Entry> entries_;
    bool everything_ = false;
};

}  // namespace offgil::net
