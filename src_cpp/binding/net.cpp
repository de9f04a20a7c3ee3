// Binding of src_cpp/net: convert, detach once, call, attach once, convert.
#include <curl/curl.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>

#include "binding/bind.h"
#include "binding/convert.h"
#include "net/client.h"
#include "net/version.h"

namespace offgil::binding {

using namespace nb::literals;

namespace {

/// net::Client and the Python class of its responses.
///
/// Locking: `client` locks by itself; `response_type` never changes.
struct PyClient {
    PyClient(const net::Config &config, nb::object type) : client(config), response_type(std::move(type)) {}

    nb::object request(nb::str method, nb::str url, nb::handle headers, nb::handle body, nb::tuple limits,
                       const PyCancelToken *cancel, int save_to) {
        net::Request request = request_of(method, url, headers, body, limits, cancel);
        request.save_to = save_to;
        net::Interrupt interrupt = signal_check();
        net::Result result = without_gil([&] { return client.perform(request, interrupt); });
        if (auto *error = std::get_if<net::Error>(&result)) raise(std::move(*error));
        return make_response(response_type, std::get<net::Response>(std::move(result)));
    }

    void pause(nb::handle seconds, const PyCancelToken *cancel) {
        net::Patience patience{net::deadline_after(net::monotonic_now(), timeout_ns(seconds)), signal_check(),
                               cancel ? cancel->token : nullptr};
        std::optional<net::ErrorKind> ended = without_gil([&] { return client.pool().pause(patience); });
        if (!ended) return;
        if (*ended == net::ErrorKind::interrupted) throw nb::python_error();
        throw NetException(net::pause_failure(*ended));
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
        const Detached detached;
        client.close();
    }

    net::Client client;
    nb::object response_type;
};

}  // namespace

net::Client &core_of(nb::handle client) {
    return nb::cast<PyClient &>(client).client;
}

nb::object response_type_of(nb::handle client) {
    return nb::cast<PyClient &>(client).response_type;
}

void bind_net(nb::module_ &m) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    bind_net_errors(m);
    bind_response(m);
    bind_body(m);
    bind_config(m);

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
        .def(nb::init<const net::Config &, nb::object>(), "config"_a, "response_type"_a,
             nb::sig("def __init__(self, config: Config, response_type: type[Response]) -> None"))
        .def("request", &PyClient::request, "method"_a, "url"_a, "headers"_a.none(), "body"_a.none(),
             "limits"_a, "cancel"_a.none(), "save_to"_a = -1,
             nb::sig("def request(self, method: str, url: str, headers: list[tuple[str, str | None]] | None, "
                     "body: bytes | FileBody | IterableBody | None, limits: tuple[float | None, ...], "
                     "cancel: CancelToken | None, save_to: int = -1) -> Response"),
             "Run one request to its end, detached; a 2xx body goes to the descriptor `save_to`, if given.")
        .def("pause", &PyClient::pause, "seconds"_a, "cancel"_a.none(),
             nb::sig("def pause(self, seconds: float, cancel: CancelToken | None) -> None"),
             "Sleep, detached; close() and the token end it with their error.")
        .def("counts", &PyClient::counts, nb::sig("def counts(self) -> dict[str, typing.Any]"),
             "What happened since the client was made, in this process.")
        .def("close", &PyClient::close, "Cancel every running call and refuse new ones.")
        .def_prop_ro("closed", [](const PyClient &self) { return self.client.closed(); });

    bind_batch(m);
    bind_engine(m);
    bind_stream(m);
}

}  // namespace offgil::binding
