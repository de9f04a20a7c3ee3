// Binding of src_cpp/store/shared: values are Python objects, kept by reference.
//
// === Locks and the interpreter ===
//
// Every lock of the table is taken and released by an attached thread, within a few dozen instructions that
// call no Python; only the sleep of a waiter is detached, and it holds no lock.  Three things follow.
//
// Blocking on such a lock while attached delays no stop-the-world: its holder is attached too, so the stop
// has to wait for the holder anyway, and then the lock is free.  (With a GIL there is no second attached
// thread, and the locks are never contended.)  Detaching first would cost more than the wait.
//
// Attaching while holding one would deadlock: the stop waits for a thread blocked on the lock, which waits
// for us, who wait for the stop to end.  The table gives us no opportunity: it calls nothing of ours under a
// lock but the copy of a value, which is Py_INCREF.
//
// The collector reads the table without a lock.  While it traverses, every other thread is detached or
// stopped where Python code may run, and at neither place does a thread hold one.
#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "binding/bind.h"
#include "binding/convert.h"
#include "store/shared/table.h"

namespace offgil::binding {

using namespace nb::literals;
using store::Parker;
using store::Status;

namespace {

/// A strong reference whose copy is declared not to throw, which nb::object leaves out.  Copied only while
/// attached.
class Ref : public nb::object {
  public:
    Ref() = default;
    explicit Ref(nb::handle h) : object(nb::borrow(h)) {}
    Ref(const Ref &other) noexcept : object(other) {}
    Ref(Ref &&other) noexcept = default;
    Ref &operator=(Ref &&other) noexcept = default;
    ~Ref() = default;
};

using Table = store::SharedTable<Ref>;
using EntryPtr = store::EntryPtr<Ref>;

/// Counts the forks that this process is a child of.  A table of another generation has waiters on the stacks
/// of threads that do not exist here, so it is not touched again.
std::atomic<unsigned> forks{0};

std::string quoted(nb::handle h) {
    return nb::repr(h).c_str();
}

/// Stands for an argument that was left out, where None is a value.  Compared by identity, never handed out.
nb::handle not_given() {
    static PyObject *const marker = PyObject_CallNoArgs(reinterpret_cast<PyObject *>(&PyBaseObject_Type));
    return marker;
}

/// When a wait ends.
struct Deadline {
    Parker::Clock::time_point at = Parker::never;
    bool now = false;  ///< timeout 0: do not wait at all

    explicit Deadline(nb::handle timeout) {
        const std::int64_t span = timeout_ns(timeout);
        now = span == 0;
        if (span != kForever)
            at = Parker::Clock::now() +
                 std::chrono::ceil<Parker::Clock::duration>(std::chrono::nanoseconds(span));
    }
};

/// Sleeps in `wait(sleep)` until it has a result or the deadline passed.  Signals are only handled on the
/// main thread, but the kernel may deliver them to any, so the main thread looks every 50 ms; others sleep
/// through.
template <class Wait>
Status park(const Deadline &deadline, Wait &&wait) {
    const bool sliced = on_main_thread();
    for (;;) {
        const auto until =
            sliced ? std::min(deadline.at, Parker::Clock::now() + std::chrono::nanoseconds(kSignalSlice))
                   : deadline.at;
        const Status status = wait([until](Parker &parker) noexcept {
            const nb::gil_scoped_release detached;
            return parker.park_until(until);
        });
        if (status != Status::absent) return status;
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
        if (Parker::Clock::now() >= deadline.at) return Status::absent;
    }
}

/// The Python side of one table.  Every public call first checks that this process made it.
class SharedStore {
  public:
    bool put(nb::handle key, nb::handle value, long priority, nb::handle topic, bool if_absent) {
        Table &table = checked();
        if (priority < 0 || priority >= static_cast<long>(store::kPriorities))
            throw nb::value_error(("priority must be from 0 to 63, not " + std::to_string(priority)).c_str());
        const Utf8 name(key, "a key");
        const TopicName topic_name(topic);
        Table::PutOptions options{.priority = static_cast<unsigned>(priority), .if_absent = if_absent};
        options.topic = topic_name;
        return open(table.put(name, Ref(value), options)) != Status::present;
    }

    nb::object get(nb::handle key, nb::handle otherwise) {
        Ref value;
        const Status status = open(checked().get(Utf8(key, "a key"), value));
        return status == Status::ok ? nb::object(std::move(value)) : nb::borrow(otherwise);
    }

    nb::object getitem(nb::handle key) {
        Ref value;
        if (open(checked().get(Utf8(key, "a key"), value)) == Status::absent) missing(key);
        return value;
    }

    void setitem(nb::handle key, nb::handle value) {
        Table &table = checked();
        open(table.put(Utf8(key, "a key"), Ref(value), {}));
    }

    void delitem(nb::handle key) {
        EntryPtr entry;
        if (open(checked().remove(Utf8(key, "a key"), entry, false)) == Status::absent) missing(key);
    }

    bool contains(nb::handle key) {
        Table &table = checked();
        return PyUnicode_Check(key.ptr()) && open(table.contains(Utf8(key, "a key"))) == Status::ok;
    }

    nb::object wait(nb::handle key, nb::handle timeout) {
        Table &table = checked();
        const Utf8 name(key, "a key");
        const Deadline deadline(timeout);
        Ref value;
        Status status = table.get(name, value);
        if (status == Status::absent && !deadline.now)
            status = park(deadline, [&](auto sleep) { return table.wait(name, value, sleep); });
        if (open(status) == Status::absent) timed_out("no result under " + quoted(key), timeout);
        return value;
    }

    nb::object pop(nb::handle key, nb::handle otherwise, nb::handle timeout) {
        Table &table = checked();
        const Utf8 name(key, "a key");
        const Deadline deadline(timeout);
        EntryPtr entry;
        Status status = table.remove(name, entry, true);
        if (status == Status::absent && !deadline.now)
            status = park(deadline, [&](auto sleep) { return table.wait_remove(name, entry, sleep); });
        if (open(status) == Status::ok) return std::move(entry->value);
        if (!otherwise.is(not_given())) return nb::borrow(otherwise);
        if (deadline.now) missing(key);
        timed_out("no result under " + quoted(key), timeout);
    }

    nb::typed<nb::tuple, nb::str, nb::any> take(nb::handle topic, nb::handle timeout) {
        Table &table = checked();
        const TopicName topic_name(topic);
        const std::optional<std::string_view> name = topic_name;
        const Deadline deadline(timeout);
        EntryPtr entry;
        Status status = table.take(name, entry);
        if (status == Status::absent && !deadline.now)
            status = park(deadline, [&](auto sleep) { return table.wait_take(name, entry, sleep); });
        if (open(status) == Status::absent) timed_out("no entry in topic " + quoted(topic), timeout);
        return nb::borrow<nb::typed<nb::tuple, nb::str, nb::any>>(
            nb::make_tuple(str_of(entry->name), std::move(entry->value)));
    }

    nb::typed<nb::list, nb::str> key_list() {
        std::vector<std::string> names;
        open(checked().keys(names));
        nb::typed<nb::list, nb::str> list;
        for (const std::string &name : names) list.append(str_of(name));
        return list;
    }

    void clear() { open(checked().clear()); }

    std::size_t size() {
        open(checked().closed() ? Status::closed : Status::ok);
        return table_.size();
    }

    void close() {
        if (ours()) table_.close();
    }

    bool closed() const { return table_.closed(); }
    store::TableStats counters() const { return table_.stats(); }

    Table &unchecked() { return table_; }

  private:
    bool ours() const { return born_ == forks.load(std::memory_order_relaxed); }

    Table &checked() {
        if (!ours())
            raise("StoreUnavailable",
                  "this shared-state store belongs to the process that made it, and this is a forked child: "
                  "make a store here, or share one between processes with open_store(\"managed\")");
        return table_;
    }

    static Status open(Status status) {
        if (status == Status::closed) raise("Closed", "the shared-state store is closed");
        return status;
    }

    [[noreturn]] static void missing(nb::handle key) {
        PyErr_SetObject(PyExc_KeyError, key.ptr());
        throw nb::python_error();
    }

    [[noreturn]] static void timed_out(const std::string &what, nb::handle timeout) {
        raise("StoreTimeout", what + " within " + nb::str(timeout).c_str() + " s");
    }

    Table table_;
    const unsigned born_ = forks.load(std::memory_order_relaxed);
};

int traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    if (!nb::inst_ready(self)) return 0;
    int stop = 0;
    nb::inst_ptr<SharedStore>(self)->unchecked().visit([&](const Ref &value) {
        if (!stop) stop = visit(value.ptr(), arg);
    });
    return stop;
}

int clear(PyObject *self) {
    if (nb::inst_ready(self)) nb::inst_ptr<SharedStore>(self)->unchecked().clear();
    return 0;
}

PyType_Slot gc_slots[] = {
    {Py_tp_traverse, reinterpret_cast<void *>(traverse)},
    {Py_tp_clear, reinterpret_cast<void *>(clear)},
    {0, nullptr},
};

}  // namespace

void bind_shared_store(nb::module_ &m) {
    nb::class_<store::TableStats>(m, "SharedTableStats", "Counters of a SharedTable.")
        .def_ro("entries", &store::TableStats::entries)
        .def_ro("puts", &store::TableStats::puts)
        .def_ro("takes", &store::TableStats::takes)
        .def_ro("waiters", &store::TableStats::waiters);
    // The methods have the contract's names and signatures, so that SharedStateStore inherits them as they
    // are: a Python method in between would cost more than the whole operation.
    nb::class_<SharedStore>(
        m, "SharedTable", nb::type_slots(gc_slots),
        "The native part of offgil.SharedStateStore; offgil.ResultStore says what each method does."
        "\n\nThread-safety: safe on shared objects.")
        .def(nb::init<>())
        .def("put", &SharedStore::put, "key"_a.none(), "value"_a.none(), nb::kw_only(), "priority"_a = 0,
             "topic"_a = nb::none(), "if_absent"_a = false,
             nb::sig(
                 "def put(self, key: str, value: typing.Any, *, priority: int = 0, topic: str | None = None, "
                 "if_absent: bool = False) -> bool"),
             "Publish a result and wake whoever waits for it; False only if if_absent found one.")
        .def("get", &SharedStore::get, "key"_a.none(), "default"_a = nb::none(),
             nb::sig("def get(self, key: str, default: typing.Any = None) -> typing.Any"),
             "The result, or default if there is none.")
        .def("wait", &SharedStore::wait, "key"_a.none(), "timeout"_a = nb::none(),
             nb::sig("def wait(self, key: str, timeout: float | None = None) -> typing.Any"),
             "Return the result, parking until it is there; it stays in the store.")
        .def("pop", &SharedStore::pop, "key"_a.none(), "default"_a.none() = nb::handle(not_given()),
             nb::kw_only(), "timeout"_a.none() = 0,
             nb::sig("def pop(self, key: str, default: typing.Any = ..., *, timeout: float | None = 0) -> "
                     "typing.Any"),
             "Remove and return the result, waiting up to timeout seconds for it.")
        .def("take", &SharedStore::take, "topic"_a = nb::none(), "timeout"_a = nb::none(),
             nb::sig("def take(self, topic: str | None = None, timeout: float | None = None) -> tuple[str, "
                     "typing.Any]"),
             "Remove and return one (key, result) of topic: highest priority first, then the oldest.")
        .def("clear", &SharedStore::clear, "Remove every result.")
        .def("close", &SharedStore::close,
             "Drop the results, wake every waiter with Closed, refuse further use.")
        .def_prop_ro("closed", &SharedStore::closed, "Whether close() was called.")
        .def("__getitem__", &SharedStore::getitem, nb::arg().none(),
             nb::sig("def __getitem__(self, key: str, /) -> typing.Any"))
        .def("__setitem__", &SharedStore::setitem, nb::arg().none(), nb::arg().none(),
             nb::sig("def __setitem__(self, key: str, value: typing.Any, /) -> None"))
        .def("__delitem__", &SharedStore::delitem, nb::arg().none(),
             nb::sig("def __delitem__(self, key: str, /) -> None"))
        .def("__contains__", &SharedStore::contains, nb::arg().none(),
             nb::sig("def __contains__(self, key: object, /) -> bool"))
        .def("__len__", &SharedStore::size)
        .def("key_list", &SharedStore::key_list, "The keys as they are now.")
        .def("counters", &SharedStore::counters, "Counters, read without a lock.");
    m.def(
        "after_fork_in_child", [] { forks.fetch_add(1, std::memory_order_relaxed); },
        "Makes the tables of the parent process unusable in this one.");
}

}  // namespace offgil::binding
