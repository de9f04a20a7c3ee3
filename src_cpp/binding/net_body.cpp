#include "binding/net_body.h"

#include <fcntl.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <string_view>
#include <utility>

#include "binding/bind.h"
#include "binding/convert.h"

namespace offgil::binding {

using namespace nb::literals;

namespace {

bool is_iterator(nb::handle object) {
    return PyIter_Check(object.ptr()) != 0;
}

}  // namespace

int duplicate(int descriptor) {
    const int copy = ::fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0) return copy;
    PyErr_SetFromErrno(PyExc_OSError);
    throw nb::python_error();
}

PyFileBody::PyFileBody(int descriptor, std::uint64_t offset, std::uint64_t size, std::string path)
    : upload(std::make_shared<net::FileUpload>(duplicate(descriptor), offset, size, std::move(path))) {}

PyIterableBody::PyIterableBody(nb::object iterable, std::optional<std::uint64_t> size)
    : iterable_(std::move(iterable)), size_(size), replayable_(!is_iterator(iterable_)) {}

std::shared_ptr<net::Upload> PyIterableBody::start() {
    if (started_ && !replayable_)
        raise("StreamConsumed",
              "the request's body is an iterator, which has been read; give bytes, a file or a list to have "
              "it sent again");
    started_ = true;
    iterator_ = nb::steal(or_hang([&] { return PyObject_GetIter(iterable_.ptr()); }));
    if (!iterator_.is_valid()) throw nb::python_error();
    return std::make_shared<net::FedUpload>(size_, net::FedUpload::Source{&PyIterableBody::more, this});
}

bool PyIterableBody::more(void *self, net::FedUpload &upload) {
    const Attached attached;
    // An iterator in C may never run a signal handler by itself.
    if (PyErr_CheckSignals() != 0) return false;
    return static_cast<PyIterableBody *>(self)->feed(upload);
}

/// False with a Python exception set.
bool PyIterableBody::feed(net::FedUpload &upload) {
    for (bool complete = false;; complete = upload.complete()) {
        nb::object item = next();
        if (!item.is_valid()) {
            if (PyErr_Occurred()) return false;
            upload.finish();
            iterator_.reset();  // what it holds may refer to the answer that its request gets
            return true;
        }
        const std::string_view bytes(PyBytes_AS_STRING(item.ptr()),
                                     static_cast<std::size_t>(PyBytes_GET_SIZE(item.ptr())));
        if (complete && bytes.empty()) continue;
        piece_ = std::move(item);
        upload.give(bytes);
        // libcurl asks for no more than was promised: before it gets the last of that, what follows has to be
        // the end.
        if (complete || !upload.complete()) return true;
    }
}

/// The next item as bytes; null at the end, or with a Python exception set.
nb::object PyIterableBody::next() {
    nb::object item = nb::steal(or_hang([&] { return PyIter_Next(iterator_.ptr()); }));
    if (!item.is_valid() || PyBytes_Check(item.ptr())) return item;
    if (PyByteArray_Check(item.ptr()) || PyMemoryView_Check(item.ptr()))
        return nb::steal(PyBytes_FromObject(item.ptr()));  // these could change while they are sent
    PyErr_Format(PyExc_TypeError, "an iterable body must yield bytes, bytearray or memoryview, not %s",
                 Py_TYPE(item.ptr())->tp_name);
    return {};
}

void refuse_iterable(nb::handle body) {
    if (nb::isinstance<PyIterableBody>(body))
        throw nb::type_error(
            "an iterable body would hold up the other requests; give bytes or a file, or send it with "
            "Client.request, or as an asynchronous iterable with AsyncClient.request");
}

void bind_body(nb::module_ &m) {
    nb::class_<PyFileBody>(m, "FileBody", "A regular file as the body of one request at a time.")
        .def(nb::init<int, std::uint64_t, std::uint64_t, std::string>(), "descriptor"_a, "offset"_a, "size"_a,
             "path"_a, "Read `size` bytes from `offset`; the descriptor is duplicated.");

    nb::class_<PyIterableBody>(m, "IterableBody",
                               "An iterable of bytes as the body of one request at a time.")
        .def(nb::init<nb::object, std::optional<std::uint64_t>>(), "iterable"_a, "size"_a.none(),
             nb::sig("def __init__(self, iterable: collections.abc.Iterable[bytes | bytearray | memoryview], "
                     "size: int | None) -> None"),
             "Send what `iterable` yields; `size` is how many bytes that must be, None for any number.")
        .def_prop_ro("replayable", &PyIterableBody::replayable,
                     "Whether the body can be sent more than once: an iterator cannot.");
}

}  // namespace offgil::binding
