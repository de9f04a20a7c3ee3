// _core.Config: what all requests of one client share, checked where it can be.
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "binding/bind.h"
#include "binding/convert.h"
#include "net/config.h"

namespace offgil::binding {

using namespace nb::literals;

namespace {

std::optional<net::Proxy> proxy_of(nb::handle parts) {
    if (parts.is_none()) return std::nullopt;
    auto [url, user, password] = nb::cast<std::tuple<std::string, std::string, std::string>>(parts);
    return net::Proxy{std::move(url), std::move(user), std::move(password)};
}

void set_certificate(net::Config &config, std::string cert, std::string key, std::string password) {
    config.tls.cert_file = std::move(cert);
    config.tls.key_file = std::move(key);
    config.tls.key_password = std::move(password);
    auto problem = without_gil([&] { return net::certificate_problem(config.tls); });  // reads files
    if (problem)
        raise(
            "UnusableCertificate",
            "cert=: " + *problem +
                "; give a PEM file of certificate chain and key, or (chain, key), or (chain, key, password)");
}

}  // namespace

void bind_config(nb::module_ &m) {
    nb::enum_<net::HttpVersion>(m, "HttpVersion", "Which versions of HTTP a client speaks.")
        .value("HTTP1", net::HttpVersion::http1, "1.1 always")
        .value("NEGOTIATE", net::HttpVersion::negotiate, "HTTP/2 where TLS' ALPN agrees on it")
        .value("HTTP2", net::HttpVersion::http2, "HTTP/2 without asking, also without TLS");

    nb::class_<net::Config>(m, "Config", "What all requests of one client share; copied by Client.")
        .def(nb::init<>())
        .def(
            "add_header",
            [](net::Config &self, nb::str name, nb::str value) {
                self.default_headers.push_back(header_of(name, value));
            },
            "name"_a, "value"_a, "Send a header with every request that does not give the same name.")
        .def_rw("max_connections", &net::Config::max_connections)
        .def_rw("max_keepalive", &net::Config::max_keepalive)
        .def_rw("max_response_bytes", &net::Config::max_response_bytes)
        .def_rw("decode", &net::Config::decode, "Ask for compressed bodies and unpack them.")
        .def(
            "set_authorities",
            [](net::Config &self, bool verify, std::string ca_file) {
                self.tls.verify = verify;
                self.tls.ca_file = std::move(ca_file);
            },
            "verify"_a, "ca_file"_a, "Whom to trust; an empty file stands for the system's.")
        .def(
            "set_verification",
            [](net::Config &self, bool check_hostname, unsigned long flags, std::string ca_pem) {
                self.tls.check_hostname = check_hostname;
                self.tls.verify_flags = flags;
                self.tls.ca_pem = std::move(ca_pem);
            },
            "check_hostname"_a, "flags"_a, "ca_pem"_a,
            "How: `flags` as ssl.VerifyFlags, `ca_pem` in place of a file if it is not empty.")
        .def("set_certificate", &set_certificate, "cert_file"_a, "key_file"_a, "password"_a,
             "Show this certificate to servers that ask; reads both files.")
        .def(
            "set_tls_versions",
            [](net::Config &self, int lowest, int highest) {
                self.tls.lowest = lowest;
                self.tls.highest = highest;
            },
            "lowest"_a, "highest"_a, "Bounds as ten times the version; 0 for no highest.")
        .def(
            "set_proxies",
            [](net::Config &self, nb::handle for_http, nb::handle for_https, const std::string &no_proxy) {
                self.route.for_http = proxy_of(for_http);
                self.route.for_https = proxy_of(for_https);
                self.route.no_proxy = net::NoProxy(no_proxy);
            },
            "for_http"_a.none(), "for_https"_a.none(), "no_proxy"_a,
            nb::sig("def set_proxies(self, for_http: tuple[str, str, str] | None, "
                    "for_https: tuple[str, str, str] | None, no_proxy: str) -> None"),
            "Each as URL, user and password.")
        .def(
            "add_proxy_header",
            [](net::Config &self, nb::object name, nb::object value) {
                const net::Header header = header_of(name, value);
                net::add_proxy_header(self.route, header.name, header.value);
            },
            "name"_a, "value"_a, nb::sig("def add_proxy_header(self, name: bytes, value: bytes) -> None"),
            "Send a header to proxies only.")
        .def(
            "set_local_address",
            [](net::Config &self, std::string address) { self.route.local_address = std::move(address); },
            "address"_a, "Connect from there.")
        .def(
            "add_socket_option",
            [](net::Config &self, int level, int name, nb::bytes value) {
                self.route.socket_options.push_back({level, name, {value.c_str(), value.size()}});
            },
            "level"_a, "name"_a, "value"_a, "For setsockopt, before a socket is connected.")
        .def(
            "set_longest_idle", [](net::Config &self, long seconds) { self.route.longest_idle = seconds; },
            "seconds"_a, "How long a kept connection may have been idle that is used again; 0 for any time.")
        .def(
            "set_unix_socket",
            [](net::Config &self, std::string path) { self.route.unix_socket = std::move(path); }, "path"_a,
            "Connect there instead of to the URLs' hosts.")
        .def(
            "set_http_version",
            [](net::Config &self, net::HttpVersion version) { self.route.http_version = version; },
            "version"_a);
}

}  // namespace offgil::binding
