// Binding of src_cpp/net: convert, detach once, call, attach once, convert.
#include <curl/curl.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <atomic>
#include <memory>
#include <optional>
#include <unordered_map>

#include "binding/bind.h"
#include "binding/convert.h"
#include "net/batch.h"
#include "net/client.h"
#include "net/version.h"

namespace offgil::binding {

using namespace nb::literals;

namespace {

static_assert(kForever == net::kNever);

/// The UTF-8 form of a str, borrowed from it: valid detached for as long as the caller holds the str.
std::string_view utf8_of(nb::handle text) {
    Py_ssize_t size = 0;
    const char *data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (!data) throw nb::python_error();
    return {data, static_cast<std::size_t>(size)};
}

/// A list of (name, value) pairs to checked headers.
std::vector<net::Header> headers_of(nb::handle pairs) {
    std::vector<net::Header> headers;
    if (pairs.is_none()) return headers;
    for (nb::handle pair : pairs) {
        nb::object name = pair[0], value = pair[1];
        net::Header header{std::string(utf8_of(name)), std::string(utf8_of(value))};
        if (!net::valid_header(header.name, header.value))
            throw NetException(
                {net::ErrorKind::local_protocol,
                 "header " + nb::cast<std::string>(nb::repr(name)) +
                     ": a name must be a token and a value free of control characters; nothing was sent"});
        headers.push_back(std::move(header));
    }
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
    if (!body.is_none()) {
        char *data = nullptr;
        Py_ssize_t size = 0;
        if (PyBytes_AsStringAndSize(body.ptr(), &data, &size)) throw nb::python_error();
        request.body = {data, static_cast<std::size_t>(size)};
        request.has_body = true;
    }
    if (limits.size() != 5) throw nb::value_error("limits are (connect, read, write, pool, total)");
    request.timeouts = {timeout_ns(limits[0]), timeout_ns(limits[1]), timeout_ns(limits[2]),
                        timeout_ns(limits[3]), timeout_ns(limits[4])};
    if (cancel) request.cancel = cancel->token;
    return request;
}

namespace {

/// net::Client and the Python class of its responses.
///
/// Locking: `client` locks by itself; `response_type` never changes.
struct PyClient {
    PyClient(nb::handle default_headers, bool verify, std::string ca_file, nb::object type,
             std::optional<std::size_t> max_connections, std::size_t max_keepalive,
             std::optional<std::size_t> max_response_bytes)
        : client({headers_of(default_headers), max_connections.value_or(net::kUnbounded), max_keepalive,
                  verify, std::move(ca_file), nullptr, max_response_bytes.value_or(net::kUnbounded)}),
          response_type(std::move(type)) {}

    nb::object request(nb::str method, nb::str url, nb::handle headers, nb::handle body, nb::tuple limits,
                       const PyCancelToken *cancel) {
        net::Request request = request_of(method, url, headers, body, limits, cancel);
        net::Interrupt interrupt = signal_check();
        net::Result result = [&] {
            nb::gil_scoped_release detached;
            return client.perform(request, interrupt);
        }();
        if (auto *error = std::get_if<net::Error>(&result)) {
            if (error->kind == net::ErrorKind::interrupted) throw nb::python_error();
            throw NetException(std::move(*error));
        }
        return make_response(response_type, std::get<net::Response>(std::move(result)));
    }

    void pause(nb::handle seconds, const PyCancelToken *cancel) {
        net::Patience patience{net::deadline_after(net::monotonic_now(), timeout_ns(seconds)), signal_check(),
                               cancel ? cancel->token : nullptr};
        std::optional<net::ErrorKind> ended = [&] {
            nb::gil_scoped_release detached;
            return client.pool().pause(patience);
        }();
        if (!ended) return;
        if (*ended == net::ErrorKind::interrupted) throw nb::python_error();
        throw NetException({*ended, *ended == net::ErrorKind::closed
                                        ? "the client was closed between two attempts"
                                        : "cancelled between two attempts"});
    }

    nb::dict counts() {
        const net::Counts now = client.pool().counters().read();
        nb::dict errors;
        for (std::size_t kind = 0; kind < net::kErrorKinds; ++kind)
            if (now.errors[kind]) errors[error_name(kind)] = now.errors[kind];
        nb::dict counts;
        counts["requests"] = now.requests;
        counts["errors"] = errors;
        counts["connections_opened"] = now.connections_opened;
        counts["connections_reused"] = now.connections_reused;
        counts["bytes_sent"] = now.bytes_sent;
        counts["bytes_received"] = now.bytes_received;
        counts["in_flight"] = now.in_flight;
        return counts;
    }

    void close() {
        nb::gil_scoped_release detached;
        client.close();
    }

    net::Client client;
    nb::object response_type;
};

/// Locking: `busy` admits one thread at a time; the rest belongs to whoever holds it.
class PyBatch {
  public:
    PyBatch(PyClient &owner, std::size_t connections)
        : owner_(owner), batch_(std::make_unique<net::Batch>(owner.client, connections)) {}

    void add(nb::str method, nb::str url, nb::handle headers, nb::handle body, nb::tuple limits,
             const PyCancelToken *cancel, std::uint64_t tag) {
        Turn turn(busy_, kRefusal);
        require_usable();
        batch_->add(request_of(method, url, headers, body, limits, cancel), tag);
        if (!body.is_none()) bodies_.emplace(tag, nb::borrow(body));
    }

    nb::list wait(nb::handle timeout) {
        Turn turn(busy_, kRefusal);
        require_usable();
        net::Nanos deadline = net::deadline_after(net::monotonic_now(), timeout_ns(timeout));
        net::Interrupt interrupt = signal_check();
        bool interrupted = false;
        std::vector<net::Batch::Completion> done = [&] {
            nb::gil_scoped_release detached;
            return batch_->wait(deadline, interrupt, interrupted);
        }();
        if (interrupted) throw nb::python_error();
        if (done.empty()) require_usable();
        nb::list results;
        for (auto &[tag, result] : done) {
            bodies_.erase(tag);
            auto *error = std::get_if<net::Error>(&result);
            nb::object outcome =
                error ? make_exception(*error)
                      : make_response(owner_.response_type, std::get<net::Response>(std::move(result)));
            results.append(nb::make_tuple(tag, std::move(outcome)));
        }
        return results;
    }

    void close() {
        Turn turn(busy_, kRefusal);
        {
            nb::gil_scoped_release detached;
            batch_.reset();  // ends connections
        }
        bodies_.clear();
    }

  private:
    static constexpr const char *kRefusal = "a batch belongs to one thread at a time; make one for each";

    void require_usable() const {
        if (!batch_ || !batch_->usable())
            throw NetException({net::ErrorKind::closed,
                                "the batch or its client is closed, or this process was forked off since"});
    }

    PyClient &owner_;
    std::atomic_flag busy_;
    std::unordered_map<std::uint64_t, nb::object> bodies_;  // outlives batch_, which borrows from it
    std::unique_ptr<net::Batch> batch_;
};

}  // namespace

net::Client &core_of(nb::handle client) {
    return nb::cast<PyClient &>(client).client;
}

void bind_net(nb::module_ &m) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    bind_net_errors(m);
    bind_response(m);

    nb::class_<net::LibcurlInfo>(m, "LibcurlInfo", "What the linked libcurl is and can do.")
        .def_ro("version", &net::LibcurlInfo::version)
        .def_ro("tls_backend", &net::LibcurlInfo::tls_backend)
        .def_ro("features", &net::LibcurlInfo::features)
        .def_ro("protocols", &net::LibcurlInfo::protocols);
    m.def("libcurl_info", &net::libcurl_info, "Read the run-time libcurl's version and features.");

    nb::class_<PyCancelToken>(
        m, "CancelToken",
        "Ends requests from another thread.\n\n"
        "Give one token to any number of requests as ``cancel=``; cancel() ends them all with Cancelled,\n"
        "also those that wait for a connection or for their next attempt, and every later request that is\n"
        "given the token.  A token cannot be reset.\n\n"
        "Thread-safety: safe on shared objects.")
        .def(nb::init<>())
        .def("cancel", &PyCancelToken::cancel, "End every request that has this token.  Idempotent.")
        .def_prop_ro(
            "cancelled", [](const PyCancelToken &self) { return self.token->cancelled(); },
            "Whether cancel() was called.");

    nb::class_<PyClient>(m, "Client", "Connections and defaults behind offgil.Client.")
        .def(nb::init<nb::handle, bool, std::string, nb::object, std::optional<std::size_t>, std::size_t,
                      std::optional<std::size_t>>(),
             "default_headers"_a, "verify"_a, "ca_file"_a, "response_type"_a, "max_connections"_a.none(),
             "max_keepalive"_a, "max_response_bytes"_a.none(),
             nb::sig("def __init__(self, default_headers: list[tuple[str, str]], verify: bool, ca_file: str, "
                     "response_type: type[Response], max_connections: int | None, max_keepalive: int, "
                     "max_response_bytes: int | None) -> None"))
        .def("request", &PyClient::request, "method"_a, "url"_a, "headers"_a.none(), "body"_a.none(),
             "limits"_a, "cancel"_a.none(),
             nb::sig("def request(self, method: str, url: str, headers: list[tuple[str, str]] | None, "
                     "body: bytes | None, limits: tuple[float | None, ...], cancel: CancelToken | None) -> "
                     "Response"),
             "Run one request to its end, detached.")
        .def("pause", &PyClient::pause, "seconds"_a, "cancel"_a.none(),
             nb::sig("def pause(self, seconds: float, cancel: CancelToken | None) -> None"),
             "Sleep, detached; close() and the token end it with their error.")
        .def("counts", &PyClient::counts, nb::sig("def counts(self) -> dict[str, typing.Any]"),
             "What happened since the client was made, in this process.")
        .def("close", &PyClient::close, "Cancel every running call and refuse new ones.")
        .def_prop_ro("closed", [](const PyClient &self) { return self.client.closed(); });

    nb::class_<PyBatch>(m, "Batch", "Many requests at once on the calling thread.")
        .def(nb::init<PyClient &, std::size_t>(), "client"_a, "connections"_a, nb::keep_alive<1, 2>())
        .def("add", &PyBatch::add, "method"_a, "url"_a, "headers"_a.none(), "body"_a.none(), "limits"_a,
             "cancel"_a.none(), "tag"_a,
             nb::sig("def add(self, method: str, url: str, headers: list[tuple[str, str]] | None, body: "
                     "bytes | None, "
                     "limits: tuple[float | None, ...], cancel: CancelToken | None, tag: int) -> None"),
             "Queue a request.")
        .def("wait", &PyBatch::wait, "timeout"_a.none(),
             nb::sig("def wait(self, timeout: float | None) -> list[tuple[int, Response | Exception]]"),
             "Drive all requests, detached, until one or more are complete or `timeout` seconds are over.")
        .def("close", &PyBatch::close, "Drop what is in flight and end the connections.");

    bind_stream(m);
}

}  // namespace offgil::binding
