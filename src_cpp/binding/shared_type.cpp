// _core.SharedTable as Python sees it: slots, names, signatures.
#include <optional>
#include <string_view>

#include "binding/shared_store.h"

namespace offgil::binding {

using namespace nb::literals;
using store::Bounds;
using store::OnFull;

namespace {

// The mapping's operators are type slots, which Python calls without looking anything up.

SharedStore &store_of(PyObject *self) {
    return instance<SharedStore>(self);
}

PyObject *mp_subscript(PyObject *self, PyObject *key) {
    return guarded<PyObject *>(nullptr, [&] { return store_of(self).getitem(key).release().ptr(); });
}

int mp_ass_subscript(PyObject *self, PyObject *key, PyObject *value) {
    return guarded(-1, [&] {
        value ? store_of(self).setitem(key, value) : store_of(self).delitem(key);
        return 0;
    });
}

int sq_contains(PyObject *self, PyObject *key) {
    return guarded(-1, [&] { return store_of(self).contains(key) ? 1 : 0; });
}

Py_ssize_t mp_length(PyObject *self) {
    return guarded(Py_ssize_t{-1}, [&] { return static_cast<Py_ssize_t>(store_of(self).size()); });
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
    m.def("after_fork_in_child", &forget_tables_of_parent,
          "Makes the tables of the parent process unusable in this one.");
}

}  // namespace offgil::binding
