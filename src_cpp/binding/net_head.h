// The head of an answer as Python reads it, alike for complete and for streamed answers.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <string_view>

#include "net/response.h"

namespace offgil::binding {

namespace nb = nanobind;

inline nb::str reason_phrase(const net::Response &response) {
    std::string_view reason = response.headers.reason();
    return nb::steal<nb::str>(
        PyUnicode_DecodeLatin1(reason.data(), static_cast<Py_ssize_t>(reason.size()), nullptr));
}

inline const char *version_name(const net::Response &response) {
    switch (response.http_version) {
        case 10:
            return "HTTP/1.0";
        case 20:
            return "HTTP/2";
        case 30:
            return "HTTP/3";
        default:
            return "HTTP/1.1";
    }
}

inline nb::list raw_headers(const net::Response &response) {
    auto bytes_of = [](std::string_view text) { return nb::bytes(text.data(), text.size()); };
    nb::list pairs;
    const net::HeaderBlock &headers = response.headers;
    for (std::size_t i = 0; i < headers.count(); ++i)
        pairs.append(nb::make_tuple(bytes_of(headers.name(i)), bytes_of(headers.value(i))));
    return pairs;
}

/// (version, status, reason, headers), the order that httpcore tells them in.
inline nb::tuple head_of(const net::Response &response) {
    const char *version = version_name(response);
    const std::string_view reason = response.headers.reason();
    return nb::make_tuple(nb::bytes(version), response.status, nb::bytes(reason.data(), reason.size()),
                          raw_headers(response));
}

/// ((client's address, port), (server's address, port), opened for this request, TLS or None): TLS as
/// (version, cipher, the cipher's protocol, its bits, ALPN, certificate in DER).
inline nb::tuple connection_of(const net::Response &response) {
    const net::Connection &c = response.connection;
    nb::object tls = nb::none();
    if (c.tls.version)
        tls = nb::make_tuple(c.tls.version, c.tls.cipher, c.tls.cipher_protocol, c.tls.cipher_bits,
                             c.tls.alpn, nb::bytes(c.tls.certificate.data(), c.tls.certificate.size()));
    return nb::make_tuple(nb::make_tuple(c.here.ip, c.here.port), nb::make_tuple(c.there.ip, c.there.port),
                          c.opened, tls);
}

/// Defines the properties of a head on the class of `Answer`, whose head() never changes.
template <typename Answer>
void bind_head(nb::class_<Answer> &type) {
    type.def_prop_ro("status_code", [](const Answer &self) { return self.head().status; })
        .def_prop_ro("reason_phrase", [](const Answer &self) { return reason_phrase(self.head()); })
        .def_prop_ro("http_version", [](const Answer &self) { return version_name(self.head()); })
        .def_prop_ro("url", [](const Answer &self) -> std::string_view { return self.head().url; })
        .def_prop_ro(
            "raw_headers", [](const Answer &self) { return raw_headers(self.head()); },
            nb::sig("def raw_headers(self) -> list[tuple[bytes, bytes]]"));
}

/// The same for what the adapters of other packages ask for, on the class of an answer in pieces.
template <typename Answer>
void bind_details(nb::class_<Answer> &type) {
    type.def_prop_ro(
            "head", [](const Answer &self) { return head_of(self.head()); },
            nb::sig("def head(self) -> tuple[bytes, int, bytes, list[tuple[bytes, bytes]]]"),
            "HTTP version, status code, reason phrase and headers, at once.")
        .def_prop_ro(
            "connection", [](const Answer &self) { return connection_of(self.head()); },
            nb::sig("def connection(self) -> tuple[tuple[str, int], tuple[str, int], bool, "
                    "tuple[str, str, str, int, str, bytes] | None]"),
            "Both ends, whether it was opened for this request, and its TLS.");
}

}  // namespace offgil::binding
