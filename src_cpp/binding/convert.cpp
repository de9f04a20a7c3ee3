#include "binding/convert.h"

#include <cmath>

namespace offgil::binding {

void raise(const char *type, const std::string &message) {
    const nb::object cls = nb::module_::import_("offgil.errors").attr(type);
    PyErr_SetString(cls.ptr(), message.c_str());
    throw nb::python_error();
}

void Utf8::encode(nb::handle text, const char *what) {
    if (!PyUnicode_Check(text.ptr())) {
        PyErr_Format(PyExc_TypeError, "%s must be a str, not %s", what, Py_TYPE(text.ptr())->tp_name);
        throw nb::python_error();
    }
    Py_ssize_t size = 0;
    const char *data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (!data) {
        PyErr_Clear();
        own_ = nb::steal(PyUnicode_AsEncodedString(text.ptr(), "utf-8", "surrogatepass"));
        if (!own_.is_valid()) throw nb::python_error();
        data = PyBytes_AS_STRING(own_.ptr());
        size = PyBytes_GET_SIZE(own_.ptr());
    }
    view_ = {data, static_cast<std::size_t>(size)};
}

nb::object str_of(std::string_view utf8) {
    nb::object text =
        nb::steal(PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), "surrogatepass"));
    if (!text.is_valid()) throw nb::python_error();
    return text;
}

namespace {

std::int64_t to_ns(double seconds) {
    return seconds < 1e9 ? static_cast<std::int64_t>(std::ceil(seconds * 1e9)) : kForever;
}

double number_of(nb::handle seconds) {
    const double number = PyFloat_AsDouble(seconds.ptr());
    if (number == -1.0 && PyErr_Occurred()) throw nb::python_error();
    return number;
}

}  // namespace

std::int64_t timeout_ns(nb::handle timeout) {
    if (timeout.is_none()) return kForever;
    const double seconds = number_of(timeout);
    if (seconds >= 0) return to_ns(seconds);
    PyErr_Format(PyExc_ValueError, "timeout must be None or a number of seconds from 0, not %R",
                 timeout.ptr());
    throw nb::python_error();
}

std::int64_t ttl_ns(nb::handle ttl) {
    if (ttl.is_none()) return kForever;
    const double seconds = number_of(ttl);
    if (seconds > 0) return to_ns(seconds);
    PyErr_Format(PyExc_ValueError, "ttl must be None or a number of seconds above 0, not %R", ttl.ptr());
    throw nb::python_error();
}

}  // namespace offgil::binding
