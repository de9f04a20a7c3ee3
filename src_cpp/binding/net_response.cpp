// _core.Response: a net::Response that Python can read, the base class of offgil.Response.
#include <atomic>

#include "binding/bind.h"
#include "binding/convert.h"
#include "binding/net_head.h"

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

    const net::Response &head() const { return response; }

    const net::Response response;

  private:
    std::atomic<PyObject *> content_{nullptr};
};

/// memoryview(response): the block itself, read-only, for as long as the view lives.
int get_buffer(PyObject *self, Py_buffer *view, int flags) {
    const auto *answer = initialised<PyResponse>(self);
    if (!answer) return -1;
    const net::Body &body = answer->response.body;
    // An empty body has no block, and a view wants an address.
    static char nothing = 0;
    char *data = body.size() ? const_cast<char *>(body.data()) : &nothing;
    return PyBuffer_FillInfo(view, self, data, static_cast<Py_ssize_t>(body.size()), 1, flags);
}

PyType_Slot buffer_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void *>(&get_buffer)}, {0, nullptr}};

}  // namespace

nb::object make_response(nb::handle type, net::Response response) {
    nb::object object = nb::inst_alloc(type);
    new (nb::inst_ptr<PyResponse>(object)) PyResponse(std::move(response));
    nb::inst_mark_ready(object);
    return object;
}

void bind_response(nb::module_ &m) {
    nb::class_<PyResponse> response(m, "Response", "A complete response as the native core holds it.",
                                    nb::type_slots(buffer_slots));
    bind_head(response);
    response.def_prop_ro("content", &PyResponse::content, nb::sig("def content(self) -> bytes"))
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
            nb::sig("def raw_timings(self) -> tuple[float, float, float, float]"));
}

}  // namespace offgil::binding
