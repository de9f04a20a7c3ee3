// Arguments of Python as a checked net::Request.
#include <nanobind/stl/string.h>

#include <string>
#include <string_view>
#include <vector>

#include "binding/bind.h"
#include "binding/convert.h"
#include "binding/net_body.h"
#include "net/request.h"

namespace offgil::binding {

namespace {

static_assert(kForever == net::kNever);

/// bytes as they are, or the UTF-8 form of a str; borrowed: valid detached for as long as the caller holds
/// it.
std::string_view utf8_of(nb::handle text) {
    if (PyBytes_Check(text.ptr()))
        return {PyBytes_AS_STRING(text.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(text.ptr()))};
    Py_ssize_t size = 0;
    const char *data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (!data) throw nb::python_error();
    return {data, static_cast<std::size_t>(size)};
}

}  // namespace

net::Header header_of(nb::handle name, nb::handle value) {
    net::Header header{std::string(utf8_of(name)), {}, value.is_none()};
    if (!header.omitted) header.value = utf8_of(value);
    if (!header.omitted && net::equal_ignoring_case(header.name, "Proxy-Authorization"))
        throw NetException(
            {net::ErrorKind::local_protocol,
             "header Proxy-Authorization: it would reach the server; give the proxy's credentials "
             "with its URL, proxy=\"http://user:password@host:port\"; nothing was sent"});
    if (!net::valid_header(header.name, header.value))
        throw NetException(
            {net::ErrorKind::local_protocol,
             "header " + nb::cast<std::string>(nb::repr(name)) +
                 ": a name must be a token and a value free of control characters; nothing was sent"});
    return header;
}

namespace {

/// A list of (name, value) pairs to checked headers.
std::vector<net::Header> headers_of(nb::handle pairs) {
    std::vector<net::Header> headers;
    if (pairs.is_none()) return headers;
    for (nb::handle pair : pairs) headers.push_back(header_of(pair[0], pair[1]));
    return headers;
}

}  // namespace

net::Request request_of(nb::str method, nb::str url, nb::handle headers, nb::handle body, nb::tuple limits,
                        const PyCancelToken *cancel) {
    net::Request request;
    request.method = utf8_of(method);
    request.url = utf8_of(url);
    if (!net::is_token(request.method))
        throw NetException({net::ErrorKind::local_protocol, "a method must be a token; nothing was sent"});
    if (!net::valid_url_bytes(request.url))
        throw NetException(
            {net::ErrorKind::invalid_url, nb::cast<std::string>(nb::repr(url)) +
                                              ": control characters, spaces and non-ASCII characters "
                                              "must be percent-encoded; nothing was sent"});
    std::string_view scheme = std::string_view(request.url).substr(0, request.url.find("://"));
    if (!net::equal_ignoring_case(scheme, "http") && !net::equal_ignoring_case(scheme, "https"))
        throw NetException(
            {net::ErrorKind::unsupported_protocol,
             request.url + ": the URL must start with http:// or https:// (is a base_url missing?)"});
    request.headers = headers_of(headers);
    if (PyBytes_Check(body.ptr())) {
        request.body = {PyBytes_AS_STRING(body.ptr()),
                        static_cast<std::size_t>(PyBytes_GET_SIZE(body.ptr()))};
        request.has_body = true;
    } else if (nb::isinstance<PyFileBody>(body)) {
        request.upload = nb::cast<PyFileBody &>(body).upload;
        request.upload->rewind();
    } else if (!body.is_none()) {
        request.upload = nb::cast<PyIterableBody &>(body).start();
    }
    if (limits.size() != 5) throw nb::value_error("limits are (connect, read, write, pool, total)");
    request.timeouts = {timeout_ns(limits[0]), timeout_ns(limits[1]), timeout_ns(limits[2]),
                        timeout_ns(limits[3]), timeout_ns(limits[4])};
    if (cancel) request.cancel = cancel->token;
    return request;
}

void aim(net::Request &request, nb::handle target, nb::handle connect_to) {
    if (!target.is_none()) request.target = utf8_of(target);
    if (!net::valid_url_bytes(request.target))
        throw NetException({net::ErrorKind::local_protocol,
                            "a request target must be printable ASCII without spaces; nothing was sent"});
    if (!connect_to.is_none()) request.connect_to = "::" + std::string(utf8_of(connect_to));
}

}  // namespace offgil::binding
