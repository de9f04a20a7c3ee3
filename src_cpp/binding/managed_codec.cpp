// Encoding and decoding for the managed-dict store, and the objects that keep shared memory in place.
//
// === Copy or look ===
//
// bytes and str own their memory, so they are copies.  What offgil.store.codec decodes is handed a read-only
// buffer: of a large value the store's own memory, which stays in place as long as anything looks at it, of a
// small one a copy.
#include "binding/managed_codec.h"

#include <cstring>

#include "binding/convert.h"
#include "binding/detached.h"
#include "store/managed/populate.h"

namespace offgil::binding {

using store::managed::Fetched;
using store::managed::Held;
using store::managed::HeldPointer;

namespace {

void expect_object(const nb::object &object) {
    if (!object.is_valid()) throw nb::python_error();
}

int get_held_buffer(PyObject *self, Py_buffer *view, int flags) {
    auto *memory = initialised<HeldMemory>(self);
    if (!memory || !memory->exports.add()) return -1;
    const auto bytes = memory->held->memory();
    const bool readonly = memory->held->use() == Held::Use::Reading;
    const int rc =
        PyBuffer_FillInfo(view, self, bytes.data(), static_cast<Py_ssize_t>(bytes.size()), readonly, flags);
    if (rc != 0) memory->exports.remove();
    return rc;
}

void release_held_buffer(PyObject *self, Py_buffer *) {
    nb::inst_ptr<HeldMemory>(self)->exports.remove();
}

PyType_Slot held_slots[] = {{Py_bf_getbuffer, reinterpret_cast<void *>(get_held_buffer)},
                            {Py_bf_releasebuffer, reinterpret_cast<void *>(release_held_buffer)},
                            {0, nullptr}};

}  // namespace

// --- encoding -------------------------------------------------------------------------------------

Encoded::Encoded(nb::handle key, nb::handle value, nb::handle encode) {
    PyObject *const v = value.ptr();
    if (v == Py_None)
        set(kNone, nullptr, 0);
    else if (v == Py_True || v == Py_False)
        set(v == Py_True ? kTrue : kFalse, nullptr, 0);
    else if (PyBytes_CheckExact(v))
        set(kBytes, PyBytes_AS_STRING(v), PyBytes_GET_SIZE(v));
    else if (!(PyUnicode_CheckExact(v) && set_str(v)) && !(PyLong_CheckExact(v) && set_int(v)) &&
             !(PyFloat_CheckExact(v) && set_float(v)))
        set_other(call(encode, key, value));
}

Encoded::~Encoded() {
    for (Py_buffer &buffer : buffers_) PyBuffer_Release(&buffer);
}

void Encoded::set(std::uint8_t own, const void *data, Py_ssize_t size) {
    codec = own;
    single_ = {static_cast<const std::byte *>(data), static_cast<std::size_t>(size)};
    parts_ = {&single_, 1};
}

bool Encoded::set_str(PyObject *value) {
    Py_ssize_t size = 0;
    const char *data = PyUnicode_AsUTF8AndSize(value, &size);
    if (data)
        set(kStr, data, size);
    else
        PyErr_Clear();  // a lone surrogate: pickle can
    return data;
}

bool Encoded::set_int(PyObject *value) {
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    std::memcpy(scratch_, &number, sizeof number);
    if (!overflow) set(kInt, scratch_, sizeof number);
    return !overflow;
}

bool Encoded::set_float(PyObject *value) {
    const double number = PyFloat_AS_DOUBLE(value);
    std::memcpy(scratch_, &number, sizeof number);
    set(kFloat, scratch_, sizeof number);
    return true;
}

void Encoded::set_other(nb::handle encoded) {
    const nb::tuple pair = nb::cast<nb::tuple>(encoded);
    codec = nb::cast<std::uint8_t>(pair[0]);
    const nb::list buffers = nb::cast<nb::list>(pair[1]);
    buffers_.reserve(buffers.size());
    for (const nb::handle part : buffers) {
        // The export keeps the memory in place; nothing keeps the caller from writing to it meanwhile.
        Py_buffer buffer{};
        if (PyObject_GetBuffer(part.ptr(), &buffer, PyBUF_SIMPLE)) {
            // The destructor does not run for what throws in a constructor.
            for (Py_buffer &before : buffers_) PyBuffer_Release(&before);
            throw nb::python_error();
        }
        buffers_.push_back(buffer);
        many_.emplace_back(static_cast<const std::byte *>(buffer.buf), static_cast<std::size_t>(buffer.len));
    }
    parts_ = many_;
}

// --- decoding -------------------------------------------------------------------------------------

namespace {

nb::object copy_bytes(Fetched &out) {
    nb::object object =
        nb::steal(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(out.value().size())));
    expect_object(object);
    char *const place = PyBytes_AS_STRING(object.ptr());
    const auto copy = [&] {
        store::managed::populate_private({reinterpret_cast<std::byte *>(place), out.value().size()});
        if (!out.value().empty()) std::memcpy(place, out.value().data(), out.value().size());
        out.release();
    };
    if (out.is_pinned())
        without_gil(copy);
    else
        copy();
    return object;
}

}  // namespace

nb::object decode_value(nb::handle key, Fetched &out, nb::handle decode) {
    const std::span<const std::byte> value = out.value();
    const char *const data = reinterpret_cast<const char *>(value.data());
    nb::object object;
    switch (out.codec()) {
        case kNone:
            return nb::none();
        case kFalse:
            return nb::bool_(false);
        case kTrue:
            return nb::bool_(true);
        case kInt:
        case kFloat: {
            if (value.size() != 8) store::managed::fail_corrupted("a number does not have 8 bytes");
            long long number = 0;
            double real = 0;
            std::memcpy(&number, data, 8);
            std::memcpy(&real, data, 8);
            object = nb::steal(out.codec() == kInt ? PyLong_FromLongLong(number) : PyFloat_FromDouble(real));
            break;
        }
        case kStr: {
            object = nb::steal(PyUnicode_DecodeUTF8(data, static_cast<Py_ssize_t>(value.size()), nullptr));
            if (out.is_pinned()) without_gil([&] { out.release(); });
            if (!object.is_valid() && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
                PyErr_Clear();
                store::managed::fail_corrupted("a str is not UTF-8");
            }
            break;
        }
        case kBytes:
            return copy_bytes(out);
        default: {
            const std::uint8_t codec = out.codec();
            const nb::object buffer = out.is_pinned() ? memory_view(out.keep()) : copy_bytes(out);
            return call(decode, key, codec, buffer);
        }
    }
    expect_object(object);
    return object;
}

nb::object held_memory(HeldPointer held) {
    return nb::cast(new HeldMemory(std::move(held)), nb::rv_policy::take_ownership);
}

nb::object memory_view(HeldPointer held) {
    nb::object view = nb::steal(PyMemoryView_FromObject(held_memory(std::move(held)).ptr()));
    expect_object(view);
    return view;
}

void bind_held(nb::module_ &m) {
    nb::class_<HeldMemory>(m, "HeldMemory", nb::type_slots(held_slots),
                           "Memory of a managed-dict store that stays in place while a buffer on it lives.");
}

}  // namespace offgil::binding
