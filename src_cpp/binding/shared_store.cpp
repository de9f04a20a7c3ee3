// Binding of src_cpp/store/shared: values are Python objects, kept by reference.
//
// === Locks and the interpreter ===
//
// Every lock of the table is taken and released by an attached thread, within a few dozen instructions that
// call no Python; only the sleep of a waiter is detached, and it holds no lock.  Three things follow.
//
// - Blocking on such a lock while attached delays no stop-the-world: its holder is attached too, so the stop
// has to
//   wait for the holder anyway, and once that one is done the lock is free.  (With a GIL there is no second
//   attached thread, and the locks are never contended.)  Detaching first would cost more than the wait and
//   gain nothing.
// - Attaching while holding one would deadlock: the stop waits for a thread blocked on the lock, which waits
// for us,
//   who wait for the stop to end.  The table gives us no opportunity: it calls nothing of ours under a lock
//   but the copy of a value, which is Py_INCREF.
// - The collector may read the table without a lock.  While it traverses, every other thread is detached or
// stopped at
//   a point where Python code may run, and at neither is a lock held.  It must not even try to lock: nothing
//   is gained.
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

[[noreturn]] void raise(const char *type, const std::string &message) {
    const nb::object cls = nb::module_::import_("offgil.errors").attr(type);
    PyErr_SetString(cls.ptr(), message.c_str());
    throw nb::python_error();
}

std::string quoted(nb::handle h) {
    return nb::repr(h).c_str();
}

/// The UTF-8 form of a str, or of a subclass's str value; borrowed from the str where it can be.
class Text {
  public:
    Text(nb::handle h, const char *what) {
        if (!PyUnicode_Check(h.ptr()))
            throw nb::type_error(
                (std::string(what) + " must be a str, not " + nb::inst_name(h).c_str()).c_str());
        Py_ssize_t size = 0;
        const char *data = PyUnicode_AsUTF8AndSize(h.ptr(), &size);
        if (!data) {
            // A lone surrogate has no UTF-8 form, yet it is a str like any other.
            PyErr_Clear();
            bytes_ = nb::steal(PyUnicode_AsEncodedString(h.ptr(), "utf-8", "surrogatepass"));
            if (!bytes_.is_valid()) throw nb::python_error();
            data = PyBytes_AS_STRING(bytes_.ptr());
            size = PyBytes_GET_SIZE(bytes_.ptr());
        }
        view_ = {data, static_cast<std::size_t>(size)};
    }
    operator std::string_view() const { return view_; }

  private:
    nb::object bytes_;
    std::string_view view_;
};

nb::object to_str(std::string_view utf8) {
    return nb::steal(
        PyUnicode_DecodeUTF8(utf8.data(), static_cast<Py_ssize_t>(utf8.size()), "surrogatepass"));
}

/// When a wait ends.
struct Deadline {
    Parker::Clock::time_point at = Parker::never;
    bool now = false;  ///< timeout 0: do not wait at all

    explicit Deadline(nb::handle timeout) {
        if (timeout.is_none()) return;
        const double seconds = PyFloat_AsDouble(timeout.ptr());
        if (seconds == -1.0 && PyErr_Occurred()) throw nb::python_error();
        if (!(seconds >= 0))
            throw nb::value_error(
                ("timeout must be None or a number of seconds from 0, not " + quoted(timeout)).c_str());
        now = seconds == 0;
        // Thirty years are for ever, and keep the sum below from overflowing.
        if (seconds < 1e9)
            at = Parker::Clock::now() +
                 std::chrono::ceil<Parker::Clock::duration>(std::chrono::duration<double>(seconds));
    }
};

bool on_main_thread() {
    // Asked for each wait that parks, not remembered: in a forked child the forking thread is the main one.
    const nb::object main = nb::module_::import_("threading").attr("main_thread")();
    return nb::cast<unsigned long>(main.attr("ident")) == PyThread_get_thread_ident();
}

/// Sleeps in `wait(sleep)` until it has a result or the deadline passed.  Signals are only handled on the
/// main thread, but the kernel may deliver them to any, so the main thread looks every 50 ms; others sleep
/// through.
template <class Wait>
Status park(const Deadline &deadline, Wait &&wait) {
    const bool sliced = on_main_thread();
    for (;;) {
        const auto until = sliced
                               ? std::min(deadline.at, Parker::Clock::now() + std::chrono::milliseconds(50))
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
        const Text name(key, "a key");
        const std::optional<Text> topic_name = optional_topic(topic);
        Table::PutOptions options{.priority = static_cast<unsigned>(priority), .if_absent = if_absent};
        if (topic_name) options.topic = *topic_name;
        return open(table.put(name, Ref(value), options)) != Status::present;
    }

    nb::object get(nb::handle key) {
        Ref value;
        if (open(checked().get(Text(key, "a key"), value)) == Status::absent) missing(key);
        return value;
    }

    void remove(nb::handle key) {
        EntryPtr entry;
        if (open(checked().remove(Text(key, "a key"), entry, false)) == Status::absent) missing(key);
    }

    bool contains(nb::handle key) { return open(checked().contains(Text(key, "a key"))) == Status::ok; }

    nb::object wait(nb::handle key, nb::handle timeout) {
        Table &table = checked();
        const Text name(key, "a key");
        const Deadline deadline(timeout);
        Ref value;
        Status status = table.get(name, value);
        if (status == Status::absent && !deadline.now)
            status = park(deadline, [&](auto sleep) { return table.wait(name, value, sleep); });
        if (open(status) == Status::absent) timed_out("no result under " + quoted(key), timeout);
        return value;
    }

    /// The entry's value, or a null object if there is none in time.
    nb::object pop(nb::handle key, nb::handle timeout) {
        Table &table = checked();
        const Text name(key, "a key");
        const Deadline deadline(timeout);
        EntryPtr entry;
        Status status = table.remove(name, entry, true);
        if (status == Status::absent && !deadline.now)
            status = park(deadline, [&](auto sleep) { return table.wait_remove(name, entry, sleep); });
        return open(status) == Status::ok ? nb::object(std::move(entry->value)) : nb::object();
    }

    nb::tuple take(nb::handle topic, nb::handle timeout) {
        Table &table = checked();
        const std::optional<Text> topic_name = optional_topic(topic);
        const std::optional<std::string_view> name = topic_name;
        const Deadline deadline(timeout);
        EntryPtr entry;
        Status status = table.take(name, entry);
        if (status == Status::absent && !deadline.now)
            status = park(deadline, [&](auto sleep) { return table.wait_take(name, entry, sleep); });
        if (open(status) == Status::absent) timed_out("no entry in topic " + quoted(topic), timeout);
        return nb::make_tuple(to_str(entry->name), std::move(entry->value));
    }

    nb::list keys() {
        std::vector<std::string> names;
        open(checked().keys(names));
        nb::list list;
        for (const std::string &name : names) list.append(to_str(name));
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
    store::TableStats stats() const { return table_.stats(); }

    Table &unchecked() { return table_; }

  private:
    bool ours() const { return born_ == forks.load(std::memory_order_relaxed); }

    Table &checked() {
        if (!ours())
            raise("StoreUnavailable",
                  "this shared-state store belongs to the process that made it, and this is a forked child: "
                  "make the "
                  "store in the child, or share one between processes with open_store(\"managed\")");
        return table_;
    }

    static std::optional<Text> optional_topic(nb::handle topic) {
        if (topic.is_none()) return std::nullopt;
        return Text(topic, "a topic");
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
    nb::class_<SharedStore>(m, "SharedTable", nb::type_slots(gc_slots),
                            "The native table behind offgil.SharedStateStore.\n\n"
                            "Thread-safety: safe on shared objects.")
        .def(nb::init<>())
        .def("put", &SharedStore::put, "key"_a.none(), "value"_a.none(), "priority"_a, "topic"_a.none(),
             "if_absent"_a)
        .def("get", &SharedStore::get, "key"_a.none())
        .def("remove", &SharedStore::remove, "key"_a.none())
        .def("contains", &SharedStore::contains, "key"_a.none())
        .def("wait", &SharedStore::wait, "key"_a.none(), "timeout"_a.none())
        .def(
            "pop",
            [](SharedStore &self, nb::handle key, nb::handle default_, nb::handle timeout) {
                nb::object value = self.pop(key, timeout);
                return value.is_valid() ? value : nb::borrow(default_);
            },
            "key"_a.none(), "default"_a.none(), "timeout"_a.none(),
            "The value, or `default` if none came in time.")
        .def("take", &SharedStore::take, "topic"_a.none(), "timeout"_a.none())
        .def("keys", &SharedStore::keys)
        .def("clear", &SharedStore::clear)
        .def("__len__", &SharedStore::size)
        .def("close", &SharedStore::close)
        .def_prop_ro("closed", &SharedStore::closed)
        .def("stats", &SharedStore::stats);
    m.def(
        "_after_fork_in_child", [] { forks.fetch_add(1, std::memory_order_relaxed); },
        "Makes the tables of the parent process unusable in this one.");
}

}  // namespace offgil::binding
