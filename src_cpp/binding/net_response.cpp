// _core.Response: a net::Response that Python can read, the base class of offgil.Response.
#include <nanobind/stl/string_view.h>

#include <atomic>

#include "binding/bind.h"

namespace offgil::binding {

namespace {

/// Locking: `response` never changes; `content_` is set at most once, by an atomic exchange.
class PyResponse {
  public:
    explicit PyResponse(net::Response r) : response(std::move(r)) {}
    PyResponse(const PyResponse &) = delete;
    ~PyResponse() { Py_XDECREF(content_.load(std::memory_order_acquire)); }

    /// The body as bytes: copied from the block at the first call, the same object from then on.
    nb::object content() {
        PyObject *made = content_.load(std::memory_order_acquire);
        if (!made) {
            nb::bytes fresh(response.body.data(), response.body.size());
            // Two first readers: one object wins and is everybody's.
            if (content_.compare_exchange_strong(made, fresh.ptr(), std::memory_order_acq_rel))
                made = fresh.release().ptr();
        }
        return nb::borrow(made);
    }

    const net::Response response;

  private:
    std::atomic<PyObject *> content_{nullptr};
};

nb::object bytes_of(std::string_view text) {
    return nb::bytes(text.data(), text.size());
}

nb::list raw_headers(const PyResponse &self) {
    nb::list pairs;
    const net::HeaderBlock &headers = self.response.headers;
    for (std::size_t i = 0; i < headers.count(); ++i)
        pairs.append(nb::make_tuple(bytes_of(headers.name(i)), bytes_of(headers.value(i))));
    return pairs;
}

const char *version_name(const PyResponse &self) {
    switch (self.response.http_version) {
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

}  // namespace

nb::object make_response(nb::handle type, net::Response response) {
    nb::object object = nb::inst_alloc(type);
    new (nb::inst_ptr<PyResponse>(object)) PyResponse(std::move(response));
    nb::inst_mark_ready(object);
    return object;
}

void bind_response(nb::module_ &m) {
    nb::class_<PyResponse>(m, "Response", "A complete response as the native core holds it.")
        .def_prop_ro("status_code", [](const PyResponse &self) { return self.response.status; })
        .def_prop_ro("reason_phrase",
                     [](const PyResponse &self) {
                         std::string_view reason = self.response.headers.reason();
                         return nb::steal<nb::str>(PyUnicode_DecodeLatin1(
                             reason.data(), static_cast<Py_ssize_t>(reason.size()), nullptr));
                     })
        .def_prop_ro("http_version", &version_name)
        .def_prop_ro("url", [](const PyResponse &self) -> std::string_view { return self.response.url; })
        .def_prop_ro("content", &PyResponse::content, nb::sig("def content(self) -> bytes"))
        .def_prop_ro("elapsed_seconds",
                     [](const PyResponse &self) { return static_cast<double>(self.response.elapsed) * 1e-9; })
        .def_prop_ro(
            "raw_timings",
            [](const PyResponse &self) {
                const net::Timings &t = self.response.timings;
                auto seconds = [](net::Nanos span) { return static_cast<double>(span) * 1e-9; };
                return nb::make_tuple(seconds(t.dns), seconds(t.connect), seconds(t.tls),
                                      seconds(t.first_byte));
            },
            nb::sig("def raw_timings(self) -> tuple[float, float, float, float]"))
        .def_prop_ro("raw_headers", &raw_headers,
                     nb::sig("def raw_headers(self) -> list[tuple[bytes, bytes]]"));
}

}  // namespace offgil::binding
