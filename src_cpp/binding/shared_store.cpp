// Binding of src_cpp/store/shared: values are Python objects, kept by reference.
//
// === Locks and the interpreter ===
//
// Every lock of the table is taken and released by an attached thread, within a few dozen instructions that
// call no Python; only the sleep of a waiter is detached, and it holds no lock.  Four things follow.
//
// With a GIL there is no second attached thread, so the locks of shards (nb::ft_mutex) do nothing, and puts
// are numbered without a locked instruction (ShardLock::one_thread).  Without one they are Python's mutexes,
// whose waiters detach: a stop-the-world does not wait for them.
//
// All others are std::mutex.  Blocking on one of those while attached delays no stop either: its holder is
// attached too and waits for nothing, so the stop has to wait for the holder anyway, and then the lock is
// free.
//
// Attaching while holding a std::mutex would deadlock: the stop waits for a thread blocked on the lock, which
// waits for us, who wait for the stop to end.  So would attaching between unlinking a waiter and waking it,
// which that waiter may be waiting for while attached.  The table gives us no opportunity: it calls nothing
// of ours under a lock but the copy of a value, which is Py_INCREF, and takes no shard's lock at either
// place.  Futures and tasks hear of their results from the thread that published them, after its locks are
// gone (Waiter::deliver).
//
// The collector reads the table without a lock.  While it traverses, every other thread is detached or
// stopped where Python code may run.  There a thread holds no lock, or those that it has got of several
// (HeldShards), and has changed nothing under them yet.
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

/// A value as a message shows it; keys may be long.
std::string quoted(nb::handle h) {
    std::string text = nb::repr(h).c_str();
    std::size_t end = 200;
    if (text.size() <= end) return text;
    while ((static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;  // not within a character
    return text.substr(0, end) + "…";
}

[[noreturn]] void missing(nb::handle key) {
    PyErr_SetObject(PyExc_KeyError, key.ptr());
    throw nb::python_error();
}

[[noreturn]] void timed_out(const std::string &what, nb::handle timeout) {
    raise("StoreTimeout", what + " within " + nb::str(timeout).c_str() + " s");
}

}  // namespace

nb::handle not_given() {
    static PyObject *const marker = PyObject_CallNoArgs(reinterpret_cast<PyObject *>(&PyBaseObject_Type));
    return marker;
}

void forget_tables_of_parent() {
    fork_count.fetch_add(1, std::memory_order_relaxed);
}

unsigned SharedStore::forks() {
    return fork_count.load(std::memory_order_relaxed);
}

bool SharedStore::ours() const {
    return born_ == forks();
}

Table &SharedStore::checked() {
    if (!ours()) [[unlikely]]
        refuse_foreign();
    return table_;
}

void SharedStore::refuse_foreign() {
    raise("StoreUnavailable",
          "this shared-state store belongs to the process that made it, and this is a forked child: "
          "make a store here, or share one between processes with open_store(\"managed\")");
}

void SharedStore::refuse_closed() {
    raise("Closed", "the shared-state store is closed");
}

nb::object SharedStore::read(Ref value) const {
    if (!is_failure(value)) [[likely]]
        return value;
    raise_fresh(value);
}

void SharedStore::raise_fresh(const Ref &failure) {
    const nb::object fresh = call(failure.attr("fresh"));
    PyErr_SetObject(reinterpret_cast<PyObject *>(Py_TYPE(fresh.ptr())), fresh.ptr());
    throw nb::python_error();
}

nb::object SharedStore::unwrap(Ref value) const {
    if (!is_failure(value)) [[likely]]
        return value;
    return value.attr("exception");
}

std::size_t SharedStore::size_of(nb::handle value) const {
    const nb::object size = call(sizeof_, unwrap(Ref(value)));
    if (!PyLong_Check(size.ptr())) {
        PyErr_Format(PyExc_TypeError, "sizeof must return an int, not %R", size.ptr());
        throw nb::python_error();
    }
    const std::size_t bytes = PyLong_AsSize_t(size.ptr());
    if (bytes == static_cast<std::size_t>(-1) && PyErr_Occurred()) {
        PyErr_Format(PyExc_OverflowError, "sizeof must return a number of bytes, not %R", size.ptr());
        throw nb::python_error();
    }
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

bool SharedStore::publish(const KeyArgument &key, nb::handle value, Table::PutOptions &options,
                          nb::handle timeout) {
    const Deadline deadline(timeout);
    if (!sizeof_.is_none()) options.size = size_of(value);
    options.producer = PyThread_get_thread_ident();
    bool interrupted = false;
    const auto sleep = [&](Parker &parker, Time due) noexcept {
        if (deadline.now) return Nap::gave_up;
        for (;;) {
            const Time until = std::min({deadline.at, due, end_of_slice()});
            {
                const Detached detached;
                if (parker.park_until(until)) return Nap::woken;
            }
            // Unlike the waits, a put that looks at signals keeps its place in the queue.
            if ((interrupted = PyErr_CheckSignals() != 0)) return Nap::gave_up;
            const Time now = Clock::now();
            if (now >= deadline.at) return Nap::gave_up;
            if (now >= due) return Nap::due;
        }
    };
    const Status status = open(table_.put(key, Ref(value), options, sleep));
    if (interrupted) throw nb::python_error();
    if (status == Status::full) full(key.object, options.size, timeout);
    return status != Status::present;
}

bool SharedStore::put(nb::handle key, nb::handle value, nb::handle ttl, long priority, nb::handle topic,
                      bool if_absent, nb::handle timeout) {
    if (priority < 0 || priority >= static_cast<long>(store::kPriorities))
        throw nb::value_error(("priority must be from 0 to 63, not " + std::to_string(priority)).c_str());
    checked();
    const KeyArgument name(key);
    const TopicName topic_name(topic);
    Table::PutOptions options{.priority = static_cast<unsigned>(priority), .if_absent = if_absent};
    options.topic = topic_name;
    if (const std::int64_t span = ttl_ns(ttl); span != kForever)
        options.expires = Clock::now() + std::chrono::ceil<Clock::duration>(std::chrono::nanoseconds(span));
    return publish(name, value, options, timeout);
}

void SharedStore::setitem(nb::handle key, nb::handle value) {
    Table &table = checked();
    const KeyArgument name(key);
    if (sizeof_.is_none()) {
        Ref held(value);
        if (table.renew(name, held, PyThread_get_thread_ident())) return;
    }
    Table::PutOptions options;
    publish(name, value, options, nb::none());
}

nb::object SharedStore::getitem(nb::handle key) {
    Ref value;
    if (open(checked().get(KeyArgument(key), value)) == Status::absent) missing(key);
    return read(std::move(value));
}

nb::object SharedStore::get(nb::handle key, nb::handle otherwise) {
    Ref value;
    const Status status = open(checked().get(KeyArgument(key), value));
    return status == Status::ok ? read(std::move(value)) : nb::borrow(otherwise);
}

nb::object SharedStore::peek(nb::handle key, nb::handle otherwise) {
    Ref value;
    const Status status = open(checked().get(KeyArgument(key), value, false));
    return status == Status::ok ? unwrap(std::move(value)) : nb::borrow(otherwise);
}

bool SharedStore::contains(nb::handle key) {
    Table &table = checked();
    return PyUnicode_Check(key.ptr()) && open(table.contains(KeyArgument(key))) == Status::ok;
}

void SharedStore::delitem(nb::handle key) {
    EntryPtr entry;
    if (open(checked().remove(KeyArgument(key), entry, false)) == Status::absent) missing(key);
}

nb::object SharedStore::remove(nb::handle key, nb::handle otherwise) {
    EntryPtr entry;
    const Status status = open(checked().remove(KeyArgument(key), entry, true));
    return status == Status::ok ? unwrap(std::move(entry->value)) : nb::borrow(otherwise);
}

nb::object SharedStore::wait(nb::handle key, nb::handle timeout) {
    Table &table = checked();
    const KeyArgument name(key);
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
    const KeyArgument name(key);
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

}  // namespace offgil::binding
