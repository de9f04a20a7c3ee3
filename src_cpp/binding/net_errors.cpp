// From the core's error kinds to the classes of offgil.errors.
#include <array>

#include "binding/bind.h"

namespace offgil::binding {

namespace {

constexpr std::array class_names{
    "ConnectError", "ConnectTimeout",      "ReadError",          "ReadTimeout",
    "WriteError",   "WriteTimeout",        "LocalProtocolError", "RemoteProtocolError",
    "ProxyError",   "UnsupportedProtocol", "DecodingError",      "ResponseTooLarge",
    "InvalidURL",   "PoolTimeout",         "DeadlineExceeded",   "Cancelled",
    "Closed",       "StreamClosed",
};
static_assert(class_names.size() == static_cast<std::size_t>(net::ErrorKind::interrupted),
              "one class for each kind before `interrupted`, which never reaches Python");

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
                PyErr_SetObject(class_of(e.error.kind), text_of(e.error).ptr());
            }
        },
        nullptr);
}

const char *error_name(std::size_t kind) {
    return kind < class_names.size() ? class_names[kind] : "KeyboardInterrupt";
}

nb::object make_exception(const net::Error &error) {
    return nb::handle(class_of(error.kind))(text_of(error));
}

}  // namespace offgil::binding
