// Binding of src_cpp/store/managed: values are copied into and out of shared memory, or looked at where they
// are.
//
// === Attached or detached ===
//
// A small value needs one lock for some hundred nanoseconds, about what a detach costs.  So the call tries it
// attached first, without ever waiting (Mode::Try), and only detaches to do it again if the lock was taken,
// or for a large value, or to park.  No lock is held while Python runs: what a lock guards is copied into
// buffers of ours, or pinned.
#include <optional>
#include <string>

#include "binding/bind.h"
#include "binding/convert.h"
#include "binding/managed_codec.h"
#include "store/managed/futex.h"
#include "store/managed/store.h"
#include "store/managed/watch.h"

namespace offgil::binding {

using namespace nb::literals;
namespace managed = store::managed;
using managed::Fetched;
using managed::Mode;
using managed::Outcome;

namespace {

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
managed::Patience patience_of(nb::handle timeout) {
    managed::Patience patience{deadline_of(timeout), {}};
    if (on_main_thread()) patience.interrupt = {signal_pending, nullptr, kSignalSlice};
    return patience;
}

/// The str of a key or topic in shared memory.
nb::object stored_str(std::string_view utf8) {
    try {
        return str_of(utf8);
    } catch (nb::python_error &error) {
        if (!error.matches(PyExc_UnicodeDecodeError)) throw;
    }
    managed::fail_corrupted("a name is not UTF-8");
}

[[noreturn]] void raise_key_error(nb::handle key) {
    PyErr_SetObject(PyExc_KeyError, key.ptr());
    throw nb::python_error();
}

/// The arguments of everything that publishes, with what they borrow from.
struct EntryArguments {
    EntryArguments(nb::handle key, nb::handle ttl, long priority, nb::handle topic_name)
        : text(key, "a key"), topic(topic_name) {
        if (priority < 0 || priority > 63) {
            PyErr_Format(PyExc_ValueError, "priority must be 0 to 63, not %ld", priority);
            throw nb::python_error();
        }
        request.key = text;
        request.priority = static_cast<std::uint8_t>(priority);
        request.topic = topic;
        const std::int64_t lifetime = ttl_ns(ttl);
        request.lifetime = lifetime == kForever ? 0 : lifetime;
    }
    Utf8 text;
    TopicName topic;
    managed::EntryRequest request;
};

/// The claim in a writable buffer, or none for None.
class ClaimBuffer {
  public:
    explicit ClaimBuffer(nb::handle memory) {
        if (memory.is_none()) return;
        if (PyObject_GetBuffer(memory.ptr(), &buffer_, PyBUF_WRITABLE)) throw nb::python_error();
        const auto address = reinterpret_cast<std::uintptr_t>(buffer_.buf);
        if (buffer_.len != sizeof(managed::Claim) || address % alignof(managed::Claim)) {
            PyBuffer_Release(&buffer_);
            throw nb::value_error("a claim is 16 bytes at a multiple of 8");
        }
    }
    ~ClaimBuffer() { PyBuffer_Release(&buffer_); }
    ClaimBuffer(const ClaimBuffer &) = delete;
    ClaimBuffer &operator=(const ClaimBuffer &) = delete;
    managed::Claim *get() const { return static_cast<managed::Claim *>(buffer_.buf); }

  private:
    Py_buffer buffer_{};
};

template <typename Operation>
Outcome detached(Operation &&operation) {
    const Outcome outcome = without_gil(operation);
    if (outcome == Outcome::Interrupted && PyErr_Occurred()) throw nb::python_error();
    return outcome;
}

template <typename Operation>
Outcome run(Operation &&operation) {
    const Outcome outcome = operation(Mode::Try);
    return outcome == Outcome::Busy ? detached([&] { return operation(Mode::Wait); }) : outcome;
}

/// Has the error of a full store name the key.
template <typename Operation>
Outcome named(nb::handle key, Operation &&operation) {
    try {
        return operation();
    } catch (const managed::Error &error) {
        if (error.kind() != managed::ErrorKind::Full) throw;
        const nb::object type = nb::module_::import_("offgil.errors").attr("StoreFull");
        PyErr_Format(type.ptr(), "key %R: %s", key.ptr(), error.what());
    }
    throw nb::python_error();
}

/// One handle; the methods of the Python class lie on top of it.
class ManagedStore {
  public:
    ManagedStore(std::shared_ptr<managed::Process> process, bool creator, nb::object encode,
                 nb::object decode)
        : store(std::move(process), creator), encode_(std::move(encode)), decode_(std::move(decode)) {}

    bool put(nb::handle key, nb::handle value, nb::handle ttl, long priority, nb::handle topic,
             bool if_absent, nb::handle timeout) {
        EntryArguments arguments(key, ttl, priority, topic);
        arguments.request.if_absent = if_absent;
        const managed::Patience patience = patience_of(timeout);
        return publish(key, arguments, Encoded(key, value, encode_), patience) == Outcome::Done;
    }

    void put_exception(nb::handle key, nb::handle encoded, nb::handle ttl, long priority, nb::handle topic,
                       nb::handle timeout) {
        EntryArguments arguments(key, ttl, priority, topic);
        arguments.request.kind = managed::Kind::Exception;
        const managed::Patience patience = patience_of(timeout);
        publish(key, arguments, Encoded(encoded), patience);
    }

    nb::object reserve(nb::handle key, std::uint64_t nbytes, nb::handle timeout) {
        const Utf8 text(key, "a key");
        const managed::Patience patience = patience_of(timeout);
        managed::HeldPointer held;
        named(key, [&] { return detached([&] { return store.reserve(text, nbytes, held, patience); }); });
        return held_memory(std::move(held));
    }

    /// Once.  False if something still looks at the memory.
    bool commit(HeldMemory &memory, nb::handle key, nb::handle ttl, long priority, nb::handle topic,
                nb::handle timeout) {
        EntryArguments arguments(key, ttl, priority, topic);
        arguments.request.codec = kBytes;
        const managed::Patience patience = patience_of(timeout);
        if (!memory.exports.close()) return false;
        named(key, [&] {
            return detached([&] { return store.commit(arguments.request, *memory.held, patience); });
        });
        return true;
    }

    nb::object get(nb::handle key) {
        const Utf8 text(key, "a key");
        Fetched out;
        if (run([&](Mode mode) { return store.get(text, false, out, mode); }) == Outcome::Absent)
            raise_key_error(key);
        return deliver(key, out, true);
    }

    /// `missing` if there is nothing until the end of `timeout`.
    nb::object wait(nb::handle key, bool consume, nb::handle timeout, nb::handle missing, bool raises) {
        const Utf8 text(key, "a key");
        const managed::Patience patience = patience_of(timeout);
        Fetched out;
        Outcome outcome = store.get(text, consume, out, Mode::Try);
        if (outcome == Outcome::Busy || (outcome == Outcome::Absent && patience.deadline))
            outcome = detached([&] { return store.wait(text, consume, out, patience); });
        return outcome == Outcome::Done ? deliver(key, out, raises) : nb::borrow(missing);
    }

    nb::object take(nb::handle topic, nb::handle timeout, nb::handle missing, nb::handle claim) {
        const ClaimBuffer claimed(claim);
        const TopicName name(topic);
        const managed::Patience patience = patience_of(timeout);
        Fetched out;
        std::string text;
        Outcome outcome = store.take(name, text, out, Mode::Try, claimed.get());
        if (outcome == Outcome::Busy || (outcome == Outcome::Absent && patience.deadline))
            outcome = detached([&] { return store.take_wait(name, text, out, patience, claimed.get()); });
        if (outcome != Outcome::Done) return nb::borrow(missing);
        const nb::object key = stored_str(text);
        return nb::make_tuple(key, deliver(key, out, false));
    }

    /// The codec and the memory of a value.
    nb::object view(nb::handle key) {
        const Utf8 text(key, "a key");
        Fetched out;
        const auto get = [&](Mode mode) { return store.get(text, false, out, mode, true); };
        if (run(get) == Outcome::Absent) raise_key_error(key);
        if (out.kind() == managed::Kind::Exception) deliver(key, out, true);
        const std::uint8_t codec = out.codec();
        const nb::object memory = out.is_pinned()
                                      ? memory_view(out.keep())
                                      : nb::steal(PyMemoryView_FromObject(nb::bytes("", 0).ptr()));
        return nb::make_tuple(codec, memory);
    }

    void remove(nb::handle key) {
        const Utf8 text(key, "a key");
        if (run([&](Mode mode) { return store.remove(text, mode); }) == Outcome::Absent) raise_key_error(key);
    }

    bool contains(nb::handle key) {
        const Utf8 text(key, "a key");
        return run([&](Mode mode) { return store.contains(text, mode); }) == Outcome::Done;
    }

    nb::list keys() {
        const std::vector<std::string> found = without_gil([&] { return store.keys(); });
        nb::list list;
        for (const std::string &key : found) list.append(stored_str(key));
        return list;
    }

    nb::list snapshot() {
        const std::vector<managed::EntryReport> reports = without_gil([&] { return store.snapshot(); });
        nb::list list;
        for (const managed::EntryReport &report : reports) {
            const bool exception = report.kind == managed::Kind::Exception;
            list.append(nb::make_tuple(
                stored_str(report.key), report.building, exception, report.codec, report.length,
                report.priority, report.topic ? stored_str(*report.topic) : nb::none(),
                static_cast<double>(report.age) * 1e-9,
                report.lifetime ? nb::object(nb::float_(static_cast<double>(report.lifetime) * 1e-9))
                                : nb::none(),
                report.producer, report.pins));
        }
        return list;
    }

    nb::list processes() {
        const std::vector<std::uint32_t> pids = without_gil([&] { return store.processes(); });
        nb::list list;
        for (const std::uint32_t pid : pids) list.append(pid);
        return list;
    }

    std::uint64_t size() {
        return without_gil([&] { return store.size(); });
    }

    managed::Store store;

  private:
    Outcome publish(nb::handle key, const EntryArguments &arguments, const Encoded &encoded,
                    const managed::Patience &patience) {
        managed::EntryRequest request = arguments.request;
        request.codec = encoded.codec;
        return named(key, [&] {
            return run([&](Mode mode) { return store.put(request, encoded.parts(), mode, patience); });
        });
    }

    /// The value; an exception is raised, or is the value.
    nb::object deliver(nb::handle key, Fetched &out, bool raises) {
        const bool exception = out.kind() == managed::Kind::Exception;
        nb::object value = decode_value(key, out, decode_);
        if (exception && !PyExceptionInstance_Check(value.ptr()))
            managed::fail_corrupted("what is marked as an exception is none");
        if (!exception || !raises) return value;
        PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(value.ptr())), value.ptr());
        throw nb::python_error();
    }

    nb::object encode_, decode_;
};

/// A Watch and the store that it needs.
class ManagedWatch {
  public:
    explicit ManagedWatch(nb::object store)
        : store_(std::move(store)), watch_(nb::cast<ManagedStore &>(store_).store) {}

    void add(nb::handle key) {
        std::string text(std::string_view(Utf8(key, "a key")));
        without_gil([&] { watch_.add(std::move(text)); });
    }
    void discard(nb::handle key) {
        const std::string text(std::string_view(Utf8(key, "a key")));
        without_gil([&] { watch_.discard(text); });
    }
    /// The keys that have arrived; none if the time is over, None after stop().
    nb::object next(nb::handle timeout) {
        const managed::Patience patience = patience_of(timeout);
        std::vector<std::string> arrived;
        if (detached([&] { return watch_.next(arrived, patience); }) == Outcome::Interrupted)
            return nb::none();
        nb::list list;
        for (const std::string &key : arrived) list.append(stored_str(key));
        return list;
    }
    void stop() {
        without_gil([&] { watch_.stop(); });
    }
    std::size_t pending() {
        return without_gil([&] { return watch_.pending(); });
    }

  private:
    nb::object store_;
    managed::Watch watch_;
};

ManagedStore *make_store(std::uint64_t max_bytes, std::uint32_t max_entries, std::uint32_t on_full,
                         int named_fd, nb::object encode, nb::object decode) {
    auto process = without_gil([&] {
        return managed::Process::create(max_bytes, max_entries, static_cast<managed::Policy>(on_full),
                                        named_fd);
    });
    return new ManagedStore(std::move(process), named_fd < 0, std::move(encode), std::move(decode));
}

ManagedStore *attach_store(int fd, nb::object encode, nb::object decode) {
    auto process = without_gil([&] { return managed::Process::attach(fd); });
    return new ManagedStore(std::move(process), false, std::move(encode), std::move(decode));
}

void bind_stats(nb::module_ &m) {
    using managed::Stats;
    nb::class_<Stats>(m, "ManagedStats", "Counters of a managed-dict store.")
        .def_ro("entries", &Stats::entries)
        .def_ro("bytes_used", &Stats::bytes_used)
        .def_ro("bytes_limit", &Stats::bytes_limit)
        .def_ro("puts", &Stats::puts)
        .def_ro("takes", &Stats::takes)
        .def_ro("waiters", &Stats::waiters)
        .def_ro("entries_limit", &Stats::entries_limit)
        .def_ro("blocked", &Stats::blocked)
        .def_ro("expired", &Stats::expired)
        .def_ro("evicted", &Stats::evicted)
        .def_ro("processes", &Stats::processes)
        .def_ro("repairs", &Stats::repairs)
        .def_ro("memory_used", &Stats::memory_used);
}

void bind_watch(nb::module_ &m) {
    nb::class_<ManagedWatch>(m, "ManagedWatch",
                             "One sleep for many keys; use ManagedDictStore.as_completed instead.")
        .def(nb::init<nb::object>(), "store"_a, nb::sig("def __init__(self, store: ManagedStore) -> None"))
        .def("add", &ManagedWatch::add, "key"_a.none(), nb::sig("def add(self, key: str) -> None"))
        .def("discard", &ManagedWatch::discard, "key"_a.none(),
             nb::sig("def discard(self, key: str) -> None"))
        .def("next", &ManagedWatch::next, "timeout"_a.none(),
             nb::sig("def next(self, timeout: float | None) -> list[str] | None"))
        .def("stop", &ManagedWatch::stop)
        .def("__len__", &ManagedWatch::pending);
}

}  // namespace

void bind_managed_store(nb::module_ &m) {
    nb::register_exception_translator(translate);
    bind_held(m);
    bind_stats(m);
    nb::class_<ManagedStore>(m, "ManagedStore",
                             "A table in shared memory; use offgil.store.ManagedDictStore instead.")
        .def_static("create", make_store, "max_bytes"_a, "max_entries"_a, "on_full"_a, "named_fd"_a,
                    "encode"_a, "decode"_a, nb::rv_policy::take_ownership)
        .def_static("attach", attach_store, "fd"_a, "encode"_a, "decode"_a, nb::rv_policy::take_ownership)
        .def("put", &ManagedStore::put, "key"_a.none(), "value"_a.none(), "ttl"_a.none(), "priority"_a,
             "topic"_a.none(), "if_absent"_a, "timeout"_a.none(),
             nb::sig("def put(self, key: str, value: typing.Any, ttl: float | None, priority: int, "
                     "topic: str | None, if_absent: bool, timeout: float | None) -> bool"))
        .def(
            "put_exception", &ManagedStore::put_exception, "key"_a.none(), "encoded"_a, "ttl"_a.none(),
            "priority"_a, "topic"_a.none(), "timeout"_a.none(),
            nb::sig(
                "def put_exception(self, key: str, encoded: tuple[int, list[typing.Any]], ttl: float | None, "
                "priority: int, topic: str | None, timeout: float | None) -> None"))
        .def("reserve", &ManagedStore::reserve, "key"_a.none(), "nbytes"_a, "timeout"_a.none(),
             nb::sig("def reserve(self, key: str, nbytes: int, timeout: float | None) -> HeldMemory"))
        .def("commit", &ManagedStore::commit, "memory"_a, "key"_a.none(), "ttl"_a.none(), "priority"_a,
             "topic"_a.none(), "timeout"_a.none(),
             nb::sig("def commit(self, memory: HeldMemory, key: str, ttl: float | None, priority: int, "
                     "topic: str | None, timeout: float | None) -> bool"))
        .def("get", &ManagedStore::get, "key"_a.none(), nb::sig("def get(self, key: str) -> typing.Any"))
        .def("wait", &ManagedStore::wait, "key"_a.none(), "consume"_a, "timeout"_a.none(), "missing"_a.none(),
             "raises"_a,
             nb::sig("def wait(self, key: str, consume: bool, timeout: float | None, missing: typing.Any, "
                     "raises: bool) -> typing.Any"))
        .def("take", &ManagedStore::take, "topic"_a.none(), "timeout"_a.none(), "missing"_a.none(),
             "claim"_a.none() = nb::none(),
             nb::sig("def take(self, topic: str | None, timeout: float | None, missing: None, "
                     "claim: memoryview | None = None) -> tuple[str, typing.Any] | None"))
        .def("view", &ManagedStore::view, "key"_a.none(),
             nb::sig("def view(self, key: str) -> tuple[int, memoryview]"))
        .def("remove", &ManagedStore::remove, "key"_a.none(), nb::sig("def remove(self, key: str) -> None"))
        .def("contains", &ManagedStore::contains, "key"_a.none(),
             nb::sig("def contains(self, key: str) -> bool"))
        .def("keys", &ManagedStore::keys, nb::sig("def keys(self) -> list[str]"))
        .def("snapshot", &ManagedStore::snapshot,
             nb::sig("def snapshot(self) -> list[tuple[typing.Any, ...]]"))
        .def("processes", &ManagedStore::processes, nb::sig("def processes(self) -> list[int]"))
        .def("clear", [](ManagedStore &self) { without_gil([&] { self.store.clear(); }); })
        .def("close", [](ManagedStore &self) { without_gil([&] { self.store.close(); }); })
        .def("shut_down", [](ManagedStore &self) { without_gil([&] { self.store.shut_down(); }); })
        .def("stats",
             [](const ManagedStore &self) { return without_gil([&] { return self.store.stats(); }); })
        .def("fileno", [](const ManagedStore &self) { return self.store.fd(); })
        .def("__len__", &ManagedStore::size)
        .def_prop_ro("closed", [](const ManagedStore &self) { return self.store.closed(); });
    bind_watch(m);
}

}  // namespace offgil::binding
