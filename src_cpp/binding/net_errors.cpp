// From the core's error kinds to the classes of offgil.errors.
#include <array>

#include "binding/bind.h"
#include "binding/convert.h"

namespace offgil::binding {

namespace {

constexpr std::array class_names{
    "ConnectError", "ConnectTimeout",      "ReadError",          "ReadTimeout",
    "WriteError",   "WriteTimeout",        "LocalProtocolError", "RemoteProtocolError",
    "ProxyError",   "UnsupportedProtocol", "DecodingError",      "ResponseTooLarge",
    "InvalidURL",   "PoolTimeout",         "DeadlineExceeded",   "Cancelled",
    "Closed",       "StreamClosed",        "FileError",
};
static_assert(class_names.size() == static_cast<std::size_t>(net::ErrorKind::interrupted),
              "one class for each kind before `interrupted`: what the hooks raised is Python's already");

// Written once, at import; the classes live as long as the interpreter.
std::array<PyObject *, class_names.size()> classes;

PyObject *class_of(net::ErrorKind kind) {
    return classes[static_cast<std::size_t>(kind)];
}

/// libcurl's messages may quote the server, which need not send UTF-8.
nb::object text_of(const net::Error &error) {
    auto size = static_cast<Py_ssize_t>(error.message.size());
    return nb::steal(PyUnicode_DecodeUTF8(error.message.data(), size, "backslashreplace"));
}

}  // namespace

void bind_net_errors(nb::module_ &) {
    nb::module_ errors = nb::module_::import_("offgil.errors");
    for (std::size_t i = 0; i < classes.size(); ++i)
        classes[i] = nb::getattr(errors, class_names[i]).release().ptr();
    nb::register_exception_translator(
        [](const std::exception_ptr &pointer, void *) {
            try {
                std::rethrow_exception(pointer);
            } catch (const NetException &e) {
                const nb::object exception = make_exception(e.error);
                PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(exception.ptr())), exception.ptr());
            }
        },
        nullptr);
}

const char *error_name(std::size_t kind) {
    if (kind < class_names.size()) return class_names[kind];
    return kind == static_cast<std::size_t>(net::ErrorKind::source) ? "Exception" : "KeyboardInterrupt";
}

void raise(net::Error error) {
    if (error.kind == net::ErrorKind::interrupted || error.kind == net::ErrorKind::source)
        throw nb::python_error();
    throw NetException(std::move(error));
}

nb::object make_exception(const net::Error &error) {
    const nb::handle type = class_of(error.kind);
    if (error.kind != net::ErrorKind::file) return type(text_of(error));
    const nb::object path = error.path.empty() ? nb::none() : str_of(error.path);
    return type(error.os_error, text_of(error), path);
}

}  // namespace offgil::binding
