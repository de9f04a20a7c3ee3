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
// lock but the copy of a value, which is Py_INCREF.  Futures and tasks hear of their results from the thread
// that published them, after its locks are gone (Waiter::deliver).
//
// The collector reads the table without a lock.  While it traverses, every other thread is detached or
// stopped where Python code may run, and at neither place does a thread hold one.
#include "binding/shared_store.h"

#include <cmath>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace offgil::binding {

using namespace nb::literals;
using store::Bounds;
using store::Clock;
using store::Nap;
using store::OnFull;
using store::Parker;
using store::Status;
using store::Time;
using EntryPtr = store::EntryPtr<Ref>;

namespace {

/// Counts the forks that this process is a child of.  A table of another generation has waiters on the stacks
/// of threads that do not exist here, so it is not touched again.
std::atomic<unsigned> fork_count{0};

std::string quoted(nb::handle h) {
    return nb::repr(h).c_str();
}

/// Stands for an argument that was left out, where None is a value.  Compared by identity, never handed out.
nb::handle not_given() {
    static PyObject *const marker = PyObject_CallNoArgs(reinterpret_cast<PyObject *>(&PyBaseObject_Type));
    return marker;
}

[[noreturn]] void missing(nb::handle key) {
    PyErr_SetObject(PyExc_KeyError, key.ptr());
    throw nb::python_error();
}

[[noreturn]] void timed_out(const std::string &what, nb::handle timeout) {
    raise("StoreTimeout", what + " within " + nb::str(timeout).c_str() + " s");
}

}  // namespace

unsigned SharedStore::forks() {
    return fork_count.load(std::memory_order_relaxed);
}

bool SharedStore::ours() const {
    return born_ == forks();
}

Table &SharedStore::checked() {
    if (!ours())
        raise("StoreUnavailable",
              "this shared-state store belongs to the process that made it, and this is a forked child: "
              "make a store here, or share one between processes with open_store(\"managed\")");
    return table_;
}

Status SharedStore::open(Status status) {
    if (status == Status::closed) raise("Closed", "the shared-state store is closed");
    return status;
}

nb::object SharedStore::read(Ref value) const {
    if (Py_TYPE(value.ptr()) != reinterpret_cast<PyTypeObject *>(failure_type_.ptr())) [[likely]]
        return value;
    const nb::object fresh = value.attr("fresh")();
    PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(fresh.ptr())), fresh.ptr());
    throw nb::python_error();
}

nb::object SharedStore::unwrap(Ref value) const {
    if (Py_TYPE(value.ptr()) != reinterpret_cast<PyTypeObject *>(failure_type_.ptr())) [[likely]]
        return value;
    return value.attr("exception");
}

std::size_t SharedStore::size_of(nb::handle value) const {
    if (sizeof_.is_none()) return 0;
    const nb::object size = sizeof_(unwrap(Ref(value)));
    const std::size_t bytes = PyLong_AsSize_t(size.ptr());
    if (bytes == static_cast<std::size_t>(-1) && PyErr_Occurred()) throw nb::python_error();
    return bytes;
}

void SharedStore::full(nb::handle key, std::size_t size, nb::handle timeout) const {
    const Bounds &bounds = table_.bounds();
    if (size > bounds.bytes)
        raise("StoreFull", "the value for " + quoted(key) + " has " + std::to_string(size) +
                               " bytes, more than the whole shared-state store: raise max_bytes=" +
                               std::to_string(bounds.bytes));
    std::string what = "no room for " + quoted(key) + " in the shared-state store";
    if (bounds.on_full == OnFull::block) what += std::string(" within ") + nb::str(timeout).c_str() + " s";
    const auto limit = [](std::size_t n) { return n == Bounds::none ? "None" : std::to_string(n); };
    raise("StoreFull", what + " (max_entries=" + limit(bounds.entries) +
                           ", max_bytes=" + limit(bounds.bytes) +
                           "): take results out, raise the bounds, or choose on_full=\"block\" or \"evict\"");
}

bool SharedStore::publish(nb::handle key, nb::handle value, Table::PutOptions &options, nb::handle timeout) {
    Table &table = checked();
    const Utf8 name(key, "a key");
    const Deadline deadline(timeout);
    options.size = size_of(value);
    options.producer = PyThread_get_thread_ident();
    bool interrupted = false;
    const auto sleep = [&](Parker &parker, Time due) noexcept {
        if (deadline.now) return Nap::gave_up;
        for (;;) {
            const Time until = std::min({deadline.at, due, end_of_slice()});
            {
                const nb::gil_scoped_release detached;
                if (parker.park_until(until)) return Nap::woken;
            }
            // Unlike the waits, a put that looks at signals keeps its place in the queue.
            if ((interrupted = PyErr_CheckSignals() != 0)) return Nap::gave_up;
            const Time now = Clock::now();
            if (now >= deadline.at) return Nap::gave_up;
            if (now >= due) return Nap::due;
        }
    };
    const Status status = open(table.put(name, Ref(value), options, sleep));
    if (interrupted) throw nb::python_error();
    if (status == Status::full) full(key, options.size, timeout);
    return status != Status::present;
}

bool SharedStore::put(nb::handle key, nb::handle value, nb::handle ttl, long priority, nb::handle topic,
                      bool if_absent, nb::handle timeout) {
    if (priority < 0 || priority >= static_cast<long>(store::kPriorities))
        throw nb::value_error(("priority must be from 0 to 63, not " + std::to_string(priority)).c_str());
    const TopicName topic_name(topic);
    Table::PutOptions options{.priority = static_cast<unsigned>(priority), .if_absent = if_absent};
    options.topic = topic_name;
    if (const std::int64_t span = ttl_ns(ttl); span != kForever)
        options.expires = Clock::now() + std::chrono::ceil<Clock::duration>(std::chrono::nanoseconds(span));
    return publish(key, value, options, timeout);
}

void SharedStore::setitem(nb::handle key, nb::handle value) {
    Table::PutOptions options;
    publish(key, value, options, nb::none());
}

nb::object SharedStore::getitem(nb::handle key) {
    Ref value;
    if (open(checked().get(Utf8(key, "a key"), value)) == Status::absent) missing(key);
    return read(std::move(value));
}

nb::object SharedStore::get(nb::handle key, nb::handle otherwise) {
    Ref value;
    const Status status = open(checked().get(Utf8(key, "a key"), value));
    return status == Status::ok ? read(std::move(value)) : nb::borrow(otherwise);
}

nb::object SharedStore::peek(nb::handle key, nb::handle otherwise) {
    Ref value;
    const Status status = open(checked().get(Utf8(key, "a key"), value, false));
    return status == Status::ok ? unwrap(std::move(value)) : nb::borrow(otherwise);
}

bool SharedStore::contains(nb::handle key) {
    Table &table = checked();
    return PyUnicode_Check(key.ptr()) && open(table.contains(Utf8(key, "a key"))) == Status::ok;
}

void SharedStore::delitem(nb::handle key) {
    EntryPtr entry;
    if (open(checked().remove(Utf8(key, "a key"), entry, false)) == Status::absent) missing(key);
}

nb::object SharedStore::remove(nb::handle key, nb::handle otherwise) {
    EntryPtr entry;
    const Status status = open(checked().remove(Utf8(key, "a key"), entry, true));
    return status == Status::ok ? unwrap(std::move(entry->value)) : nb::borrow(otherwise);
}

nb::object SharedStore::wait(nb::handle key, nb::handle timeout) {
    Table &table = checked();
    const Utf8 name(key, "a key");
    const Deadline deadline(timeout);
    Ref value;
    Status status = table.get(name, value);
    if (status == Status::absent && !deadline.now)
        status = park(deadline, [&](auto sleep) { return table.wait(name, value, sleep); });
    if (open(status) == Status::absent) timed_out("no result under " + quoted(key), timeout);
    return read(std::move(value));
}

nb::object SharedStore::pop(nb::handle key, nb::handle otherwise, nb::handle timeout) {
    Table &table = checked();
    const Utf8 name(key, "a key");
    const Deadline deadline(timeout);
    EntryPtr entry;
    Status status = table.remove(name, entry, true);
    if (status == Status::absent && !deadline.now)
        status = park(deadline, [&](auto sleep) { return table.wait_remove(name, entry, sleep); });
    if (open(status) == Status::ok) return read(std::move(entry->value));
    if (!otherwise.is(not_given())) return nb::borrow(otherwise);
    if (deadline.now) missing(key);
    timed_out("no result under " + quoted(key), timeout);
}

nb::typed<nb::tuple, nb::str, nb::any> SharedStore::take(nb::handle topic, nb::handle timeout) {
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
        nb::make_tuple(str_of(entry->name), unwrap(std::move(entry->value))));
}

std::size_t SharedStore::size() {
    Table &table = checked();
    open(table.closed() ? Status::closed : Status::ok);
    return table.size();
}

nb::typed<nb::list, nb::str> SharedStore::key_list() {
    std::vector<std::string> names;
    open(checked().keys(names));
    nb::typed<nb::list, nb::str> list;
    for (const std::string &name : names) list.append(str_of(name));
    return list;
}

nb::list SharedStore::sightings() {
    std::vector<store::Sighting<Ref>> seen;
    open(checked().snapshot(seen));
    const Time now = Clock::now();
    const auto seconds = [](auto span) { return std::max(0.0, std::chrono::duration<double>(span).count()); };
    nb::list list;
    for (const store::Sighting<Ref> &each : seen) {
        const bool failed = !unwrap(each.value).is(each.value);
        list.append(nb::make_tuple(
            str_of(each.key), failed, each.size, each.priority, each.topic ? str_of(*each.topic) : nb::none(),
            seconds(now - each.created),
            each.expires == store::kNever ? nb::none() : nb::object(nb::float_(seconds(each.expires - now))),
            each.producer));
    }
    return list;
}

void SharedStore::clear() {
    open(checked().clear());
}

void SharedStore::close() {
    if (ours()) table_.close();
}

/// No other thread is inside any more: the table's waiters that are left are listeners.
SharedStore::~SharedStore() {
    table_.visit([](const Ref &) {},
                 [](store::Waiter<Ref> &waiter) {
                     if (waiter.calls_out()) release_listener(waiter);
                 });
}

int SharedStore::traverse(visitproc visit, void *arg) {
    Py_VISIT(failure_type_.ptr());
    Py_VISIT(sizeof_.ptr());
    int stop = 0;
    table_.visit(
        [&](const Ref &value) {
            if (!stop) stop = visit(value.ptr(), arg);
        },
        [&](const store::Waiter<Ref> &waiter) {
            if (!stop && waiter.calls_out()) stop = visit(listener_object(waiter), arg);
        });
    return stop;
}

void SharedStore::drop_references() {
    if (!ours()) return;
    table_.clear();
    std::vector<store::Waiter<Ref> *> listeners;
    table_.visit([](const Ref &) {},
                 [&](store::Waiter<Ref> &waiter) {
                     if (waiter.calls_out()) listeners.push_back(&waiter);
                 });
    for (store::Waiter<Ref> *waiter : listeners)
        if (table_.unwatch(*waiter)) release_listener(*waiter);
}

namespace {

// The mapping's operators are type slots, which Python calls without looking anything up.

SharedStore *store_of(PyObject *self) {
    if (!nb::inst_ready(self)) {
        PyErr_SetString(PyExc_RuntimeError, "this SharedStateStore was not initialised: call its __init__");
        throw nb::python_error();
    }
    return nb::inst_ptr<SharedStore>(self);
}

template <class Result, class Operation>
Result guarded(Result failed, Operation &&operation) noexcept {
    try {
        return operation();
    } catch (nb::python_error &error) {
        error.restore();
    } catch (const std::exception &error) {
        PyErr_SetString(PyExc_MemoryError, error.what());
    }
    return failed;
}

PyObject *mp_subscript(PyObject *self, PyObject *key) {
    return guarded<PyObject *>(nullptr, [&] { return store_of(self)->getitem(key).release().ptr(); });
}

int mp_ass_subscript(PyObject *self, PyObject *key, PyObject *value) {
    return guarded(-1, [&] {
        value ? store_of(self)->setitem(key, value) : store_of(self)->delitem(key);
        return 0;
    });
}

int sq_contains(PyObject *self, PyObject *key) {
    return guarded(-1, [&] { return store_of(self)->contains(key) ? 1 : 0; });
}

Py_ssize_t mp_length(PyObject *self) {
    return guarded(Py_ssize_t{-1}, [&] { return static_cast<Py_ssize_t>(store_of(self)->size()); });
}

int tp_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    return nb::inst_ready(self) ? nb::inst_ptr<SharedStore>(self)->traverse(visit, arg) : 0;
}

int tp_clear(PyObject *self) {
    if (nb::inst_ready(self)) nb::inst_ptr<SharedStore>(self)->drop_references();
    return 0;
}

PyType_Slot slots[] = {
    {Py_mp_subscript, reinterpret_cast<void *>(mp_subscript)},
    {Py_mp_ass_subscript, reinterpret_cast<void *>(mp_ass_subscript)},
    {Py_mp_length, reinterpret_cast<void *>(mp_length)},
    {Py_sq_contains, reinterpret_cast<void *>(sq_contains)},
    {Py_tp_traverse, reinterpret_cast<void *>(tp_traverse)},
    {Py_tp_clear, reinterpret_cast<void *>(tp_clear)},
    {0, nullptr},
};

std::size_t bound_of(nb::handle bound) {
    return bound.is_none() ? Bounds::none : nb::cast<std::size_t>(bound);
}

void init(SharedStore *self, nb::handle failure_type, nb::handle sizeof_value, nb::handle max_bytes,
          nb::handle max_entries, const char *on_full) {
    const std::string_view policy = on_full;
    Bounds bounds{.entries = bound_of(max_entries), .bytes = bound_of(max_bytes)};
    if (policy != "raise") bounds.on_full = policy == "block" ? OnFull::block : OnFull::evict;
    new (self) SharedStore(failure_type, sizeof_value, bounds);
}

}  // namespace

void bind_shared_store(nb::module_ &m) {
    using store::TableStats;
    nb::class_<TableStats>(m, "SharedTableStats", "Counters of a SharedTable.")
        .def_ro("entries", &TableStats::entries)
        .def_ro("bytes", &TableStats::bytes)
        .def_ro("puts", &TableStats::puts)
        .def_ro("takes", &TableStats::takes)
        .def_ro("expired", &TableStats::expired)
        .def_ro("evicted", &TableStats::evicted)
        .def_ro("waiters", &TableStats::waiters)
        .def_ro("blocked", &TableStats::blocked);
    // The methods have the contract's names and signatures, so that SharedStateStore inherits them as they
    // are: a Python method in between would cost more than the whole operation.
    nb::class_<SharedStore>(
        m, "SharedTable", nb::type_slots(slots),
        "The native part of offgil.SharedStateStore; offgil.ResultStore says what each method does."
        "\n\nThread-safety: safe on shared objects.")
        .def("__init__", &init, "failure_type"_a, "sizeof"_a.none(), "max_bytes"_a.none(),
             "max_entries"_a.none(), "on_full"_a,
             nb::sig("def __init__(self, failure_type: type, sizeof: typing.Any, max_bytes: int | None, "
                     "max_entries: int | None, on_full: str) -> None"))
        .def("put", &SharedStore::put, "key"_a.none(), "value"_a.none(), nb::kw_only(), "ttl"_a = nb::none(),
             "priority"_a = 0, "topic"_a = nb::none(), "if_absent"_a = false, "timeout"_a = nb::none(),
             nb::sig(
                 "def put(self, key: str, value: typing.Any, *, ttl: float | None = None, priority: int = 0, "
                 "topic: str | None = None, if_absent: bool = False, timeout: float | None = None) -> bool"),
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
        .def("as_completed", &as_completed, "keys"_a, "timeout"_a = nb::none(),
             nb::sig("def as_completed(self, keys: collections.abc.Iterable[str], timeout: float | None = "
                     "None) -> "
                     "collections.abc.Iterator[tuple[str, typing.Any]]"),
             "Iterate over (key, result) in order of arrival; one sleep waits for all.")
        .def("clear", &SharedStore::clear, "Remove every result.")
        .def("close", &SharedStore::close,
             "Drop the results, wake every waiter with Closed, refuse further use.")
        .def_prop_ro("closed", &SharedStore::closed, "Whether close() was called.")
        .def("peek", &SharedStore::peek, "key"_a.none(), "default"_a.none(),
             nb::sig("def peek(self, key: str, default: typing.Any) -> typing.Any"),
             "The result, an exception as an object; no use in the sense of on_full.")
        .def("remove", &SharedStore::remove, "key"_a.none(), "default"_a.none(),
             nb::sig("def remove(self, key: str, default: typing.Any) -> typing.Any"),
             "The same, and the entry is gone.")
        .def("key_list", &SharedStore::key_list, "The keys as they are now.")
        .def("sightings", &SharedStore::sightings,
             nb::sig("def sightings(self) -> list[tuple[str, bool, int, int, str | None, float, float | "
                     "None, int]]"),
             "All entries at one instant: key, failed, size, priority, topic, age, ttl, producer.")
        .def("listen", &SharedStore::listen, "key"_a.none(), "future"_a, "mailbox"_a.none(),
             nb::sig("def listen(self, key: str, future: typing.Any, mailbox: LoopMailbox | None) -> "
                     "SharedListener"),
             "Have future told of the key's result: by a mailbox, or by calling its _arrive.")
        .def("unlisten", &SharedStore::unlisten, "listener"_a,
             nb::sig("def unlisten(self, listener: SharedListener) -> bool"),
             "Stop that; False if the result was faster.")
        .def("counters", &SharedStore::counters, "Counters, read without a lock.");
    bind_shared_waits(m);
    m.def(
        "after_fork_in_child", [] { fork_count.fetch_add(1, std::memory_order_relaxed); },
        "Makes the tables of the parent process unusable in this one.");
}

}  // namespace offgil::binding
