// Binding of src_cpp/store/managed: values are copied into and out of shared memory.
//
// === Attached or detached ===
//
// A small value needs one lock for some hundred nanoseconds, about what a detach costs.  So the call tries it
// attached first, without ever waiting (Mode::Try), and only detaches to do it again if the lock was taken,
// or for a large value, or to park.  No lock is held while Python runs: what a lock guards is copied into
// buffers of ours, or pinned.
//
// === Encoding ===
//
// The types that every program stores are encoded here; for all others the two functions of
// offgil.store.codec are called, attached and with no lock held.  Codecs below kFirstPythonCodec are ours,
// the rest are theirs.
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "binding/bind.h"
#include "binding/convert.h"
#include "store/managed/futex.h"
#include "store/managed/store.h"

namespace offgil::binding {

using namespace nb::literals;
namespace managed = store::managed;
using managed::Fetched;
using managed::Mode;
using managed::Outcome;

namespace {

enum Codec : std::uint8_t { kNone, kFalse, kTrue, kInt, kFloat, kBytes, kStr, kFirstPythonCodec = 16 };

template <typename Operation>
auto without_gil(Operation &&operation) {
    const nb::gil_scoped_release released;
    return operation();
}

void translate(const std::exception_ptr &pointer, void *) {
    try {
        std::rethrow_exception(pointer);
    } catch (const managed::Error &error) {
        const char *name = nullptr;
        switch (error.kind()) {
            case managed::ErrorKind::Closed:
                name = "Closed";
                break;
            case managed::ErrorKind::Full:
                name = "StoreFull";
                break;
            case managed::ErrorKind::Corrupted:
                name = "StoreCorrupted";
                break;
            case managed::ErrorKind::Unavailable:
                name = "StoreUnavailable";
                break;
            case managed::ErrorKind::KeyTooLong:
                name = "KeyTooLong";
                break;
        }
        PyErr_SetString(nb::object(nb::module_::import_("offgil.errors").attr(name)).ptr(), error.what());
    }
}

/// Monotonic ns; 0, which is long past, for a timeout of 0.
std::int64_t deadline_of(nb::handle timeout) {
    const std::int64_t span = timeout_ns(timeout);
    if (span == kForever) return managed::kNoDeadline;
    return span == 0 ? 0 : managed::monotonic_ns() + span;
}

/// Threads other than the main one stay detached to the end, also while the interpreter goes away under them.
managed::Interrupt interrupt() {
    if (!on_main_thread()) return {};
    return {signal_pending, nullptr, kSignalSlice};
}

void expect_object(const nb::object &object) {
    if (!object.is_valid()) throw nb::python_error();
}

/// A value as bytes, which stay valid as long as this does.
class Encoded {
  public:
    Encoded(nb::handle key, nb::handle value, nb::handle encode) {
        PyObject *const v = value.ptr();
        if (v == Py_None)
            set(kNone, nullptr, 0);
        else if (v == Py_True || v == Py_False)
            set(v == Py_True ? kTrue : kFalse, nullptr, 0);
        else if (PyBytes_CheckExact(v))
            set(kBytes, PyBytes_AS_STRING(v), PyBytes_GET_SIZE(v));
        else if (!(PyUnicode_CheckExact(v) && set_str(v)) && !(PyLong_CheckExact(v) && set_int(v)) &&
                 !(PyFloat_CheckExact(v) && set_float(v)))
            set_other(key, value, encode);
    }
    ~Encoded() {
        for (Py_buffer &buffer : buffers_)
            if (buffer.obj) PyBuffer_Release(&buffer);
    }
    Encoded(const Encoded &) = delete;
    Encoded &operator=(const Encoded &) = delete;

    std::uint8_t codec = kNone;
    std::span<const std::byte> head, body;

  private:
    void set(std::uint8_t codec_, const void *data, Py_ssize_t size) {
        codec = codec_;
        head = {static_cast<const std::byte *>(data), static_cast<std::size_t>(size)};
    }
    bool set_str(PyObject *v) {
        Py_ssize_t size = 0;
        const char *data = PyUnicode_AsUTF8AndSize(v, &size);
        if (data)
            set(kStr, data, size);
        else
            PyErr_Clear();  // a lone surrogate: pickle can
        return data;
    }
    bool set_int(PyObject *v) {
        int overflow = 0;
        const long long number = PyLong_AsLongLongAndOverflow(v, &overflow);
        std::memcpy(scratch_, &number, sizeof number);
        if (!overflow) set(kInt, scratch_, sizeof number);
        return !overflow;
    }
    bool set_float(PyObject *v) {
        const double number = PyFloat_AS_DOUBLE(v);
        std::memcpy(scratch_, &number, sizeof number);
        set(kFloat, scratch_, sizeof number);
        return true;
    }
    void set_other(nb::handle key, nb::handle value, nb::handle encode) {
        const nb::tuple parts = nb::cast<nb::tuple>(encode(key, value));
        codec = nb::cast<std::uint8_t>(parts[0]);
        for (std::size_t i = 0; i < 2; ++i) {
            // The export keeps the memory in place; nothing keeps the caller from writing to it meanwhile.
            if (PyObject_GetBuffer(nb::object(parts[i + 1]).ptr(), &buffers_[i], PyBUF_SIMPLE))
                throw nb::python_error();
            (i ? body : head) = {static_cast<const std::byte *>(buffers_[i].buf),
                                 static_cast<std::size_t>(buffers_[i].len)};
        }
    }

    Py_buffer buffers_[2] = {};
    char scratch_[8];
};

/// Python's memory for a copy of `out`, filled detached if it is large, and then not pinned any more.
template <typename New, typename Data>
nb::object copy_out(Fetched &out, New *make, Data *data) {
    nb::object object = nb::steal(make(nullptr, static_cast<Py_ssize_t>(out.value().size())));
    expect_object(object);
    char *const place = data(object.ptr());
    const auto copy = [&] {
        if (!out.value().empty()) std::memcpy(place, out.value().data(), out.value().size());
        out.release();
    };
    if (out.is_pinned()) {
        without_gil(copy);
    } else {
        copy();
    }
    return object;
}

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
            if (value.size() != 8) managed::fail_corrupted("a number does not have 8 bytes");
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
            break;
        }
        case kBytes:
            return copy_out(
                out, PyBytes_FromStringAndSize, +[](PyObject *o) { return PyBytes_AS_STRING(o); });
        default: {
            const std::uint8_t codec = out.codec();
            const nb::object copy = copy_out(
                out, PyByteArray_FromStringAndSize, +[](PyObject *o) { return PyByteArray_AS_STRING(o); });
            return decode(key, codec, copy);
        }
    }
    expect_object(object);
    return object;
}

[[noreturn]] void raise_key_error(nb::handle key) {
    PyErr_SetObject(PyExc_KeyError, key.ptr());
    throw nb::python_error();
}

/// One handle; the methods of the Python class lie on top of it.
class ManagedStore {
  public:
    ManagedStore(std::shared_ptr<managed::Process> process, bool creator, nb::object encode,
                 nb::object decode)
        : store_(std::move(process), creator), encode_(std::move(encode)), decode_(std::move(decode)) {}

    bool put(nb::handle key, nb::handle value, long priority, nb::handle topic, bool if_absent) {
        if (priority < 0 || priority > 63) {
            PyErr_Format(PyExc_ValueError, "priority must be 0 to 63, not %ld", priority);
            throw nb::python_error();
        }
        const Utf8 text(key, "a key");
        const TopicName name(topic);
        const Encoded encoded(key, value, encode_);
        const managed::PutRequest request{
            text, encoded.codec, encoded.head, encoded.body, static_cast<std::uint8_t>(priority),
            name, if_absent};
        return run([&](Mode mode) { return store_.put(request, mode); }) == Outcome::Done;
    }

    nb::object get(nb::handle key) {
        const Utf8 text(key, "a key");
        Fetched out;
        if (run([&](Mode mode) { return store_.get(text, false, out, mode); }) == Outcome::Absent)
            raise_key_error(key);
        return decode_value(key, out, decode_);
    }

    /// `missing` if there is nothing until the end of `timeout`.
    nb::object wait(nb::handle key, bool consume, nb::handle timeout, nb::handle missing) {
        const Utf8 text(key, "a key");
        const std::int64_t deadline = deadline_of(timeout);
        Fetched out;
        Outcome outcome = store_.get(text, consume, out, Mode::Try);
        if (outcome == Outcome::Busy || (outcome == Outcome::Absent && deadline))
            outcome = detached([&] { return store_.wait(text, consume, out, deadline, interrupt()); });
        return outcome == Outcome::Done ? decode_value(key, out, decode_) : nb::borrow(missing);
    }

    nb::object take(nb::handle topic, nb::handle timeout, nb::handle missing) {
        const TopicName name(topic);
        const std::int64_t deadline = deadline_of(timeout);
        Fetched out;
        std::string text;
        Outcome outcome = store_.take(name, text, out, Mode::Try);
        if (outcome == Outcome::Busy || (outcome == Outcome::Absent && deadline))
            outcome = detached([&] { return store_.take_wait(name, text, out, deadline, interrupt()); });
        if (outcome != Outcome::Done) return nb::borrow(missing);
        const nb::object key = str_of(text);
        return nb::make_tuple(key, decode_value(key, out, decode_));
    }

    void remove(nb::handle key) {
        const Utf8 text(key, "a key");
        if (run([&](Mode mode) { return store_.remove(text, mode); }) == Outcome::Absent)
            raise_key_error(key);
    }

    bool contains(nb::handle key) {
        const Utf8 text(key, "a key");
        return run([&](Mode mode) { return store_.contains(text, mode); }) == Outcome::Done;
    }

    nb::list keys() {
        const std::vector<std::string> found = without_gil([&] { return store_.keys(); });
        nb::list list;
        for (const std::string &key : found) list.append(str_of(key));
        return list;
    }

    void clear() {
        without_gil([&] { store_.clear(); });
    }
    void close() {
        without_gil([&] { store_.close(); });
    }
    std::uint64_t size() { return store_.size(); }
    bool closed() const { return store_.closed(); }
    managed::Stats stats() const { return store_.stats(); }
    int fileno() const { return store_.fd(); }

  private:
    template <typename Operation>
    static Outcome detached(Operation &&operation) {
        const Outcome outcome = without_gil(operation);
        if (outcome == Outcome::Interrupted) throw nb::python_error();
        return outcome;
    }
    template <typename Operation>
    static Outcome run(Operation &&operation) {
        const Outcome outcome = operation(Mode::Try);
        return outcome == Outcome::Busy ? detached([&] { return operation(Mode::Wait); }) : outcome;
    }

    managed::Store store_;
    nb::object encode_, decode_;
};

}  // namespace

void bind_managed_store(nb::module_ &m) {
    nb::register_exception_translator(translate);
    nb::class_<managed::Stats>(m, "ManagedStats", "Counters of a managed-dict store.")
        .def_ro("entries", &managed::Stats::entries)
        .def_ro("bytes_used", &managed::Stats::bytes_used)
        .def_ro("bytes_limit", &managed::Stats::bytes_limit)
        .def_ro("puts", &managed::Stats::puts)
        .def_ro("takes", &managed::Stats::takes)
        .def_ro("waiters", &managed::Stats::waiters)
        .def_ro("repairs", &managed::Stats::repairs);
    nb::class_<ManagedStore>(m, "ManagedStore",
                             "A table in shared memory; use offgil.store.ManagedDictStore instead.")
        .def_static(
            "create",
            [](std::uint64_t max_bytes, std::uint32_t max_entries, nb::object encode, nb::object decode) {
                auto process = without_gil([&] { return managed::Process::create(max_bytes, max_entries); });
                return new ManagedStore(std::move(process), true, std::move(encode), std::move(decode));
            },
            "max_bytes"_a, "max_entries"_a, "encode"_a, "decode"_a, nb::rv_policy::take_ownership)
        .def_static(
            "attach",
            [](int fd, nb::object encode, nb::object decode) {
                auto process = without_gil([&] { return managed::Process::attach(fd); });
                return new ManagedStore(std::move(process), false, std::move(encode), std::move(decode));
            },
            "fd"_a, "encode"_a, "decode"_a, nb::rv_policy::take_ownership)
        .def("put", &ManagedStore::put, "key"_a.none(), "value"_a.none(), "priority"_a, "topic"_a.none(),
             "if_absent"_a,
             nb::sig("def put(self, key: str, value: typing.Any, priority: int, topic: str | None, "
                     "if_absent: bool) -> bool"))
        .def("get", &ManagedStore::get, "key"_a.none(), nb::sig("def get(self, key: str) -> typing.Any"))
        .def("wait", &ManagedStore::wait, "key"_a.none(), "consume"_a, "timeout"_a.none(), "missing"_a.none(),
             nb::sig("def wait(self, key: str, consume: bool, timeout: float | None, missing: typing.Any) "
                     "-> typing.Any"))
        .def("take", &ManagedStore::take, "topic"_a.none(), "timeout"_a.none(), "missing"_a.none(),
             nb::sig("def take(self, topic: str | None, timeout: float | None, missing: None) "
                     "-> tuple[str, typing.Any] | None"))
        .def("remove", &ManagedStore::remove, "key"_a.none(), nb::sig("def remove(self, key: str) -> None"))
        .def("contains", &ManagedStore::contains, "key"_a.none(),
             nb::sig("def contains(self, key: str) -> bool"))
        .def("keys", &ManagedStore::keys, nb::sig("def keys(self) -> list[str]"))
        .def("clear", &ManagedStore::clear)
        .def("close", &ManagedStore::close)
        .def("stats", &ManagedStore::stats)
        .def("fileno", &ManagedStore::fileno)
        .def("__len__", &ManagedStore::size)
        .def_prop_ro("closed", &ManagedStore::closed);
}

}  // namespace offgil::binding
