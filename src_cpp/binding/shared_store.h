// The Python side of one shared-state table, and what its waits have in common.
#pragma once

#include <nanobind/nanobind.h>

#include <algorithm>
#include <atomic>
#include <string>

#include "binding/bind.h"
#include "binding/convert.h"
#include "store/shared/table.h"

namespace offgil::binding {

/// A strong reference whose copy is declared not to throw, which nb::object leaves out.  Copied only while
/// attached.
class Ref : public nb::object {
  public:
    Ref() = default;
    explicit Ref(nb::handle h) : object(nb::borrow(h)) {}
    Ref(const Ref &other) noexcept : object(other) {}
    Ref(Ref &&other) noexcept = default;
    Ref &operator=(Ref &&other) noexcept {
        std::swap(m_ptr, other.m_ptr);
        return *this;
    }
    /// The end of an object may call Python.
    ~Ref() {
        or_hang([&] { Py_XDECREF(release().ptr()); });
    }
};

}  // namespace offgil::binding

/// Only attached threads touch a table of Python objects (shared_store.cpp says how), so with a GIL its
/// shards need no lock of their own, and without one they have Python's, which is a byte and taken inline.
template <>
struct offgil::store::ShardLock<offgil::binding::Ref> {
    using type = nanobind::ft_mutex;
#ifdef Py_GIL_DISABLED
    static constexpr bool one_thread = false;
#else
    static constexpr bool one_thread = true;
#endif
};

namespace offgil::binding {

using Table = store::SharedTable<Ref>;

/// A key as an argument.  Its hash is the one that Python keeps in the str.
class KeyArgument {
  public:
    explicit KeyArgument(nb::handle key) : object(key), text_(key, "a key"), key_(text_, hash_of(key)) {}
    operator const store::Key &() const { return key_; }

    const nb::handle object;

  private:
    // Not PyObject_Hash: that of a subclass is not ours to call.
    static std::size_t hash_of(nb::handle key) {
        // Without the GIL other threads may be storing the same hash.
        const Py_hash_t kept = std::atomic_ref(reinterpret_cast<PyASCIIObject *>(key.ptr())->hash)
                                   .load(std::memory_order_relaxed);
        return static_cast<std::size_t>(kept != -1 ? kept : PyUnicode_Type.tp_hash(key.ptr()));
    }

    const Utf8 text_;
    const store::Key key_;
};

/// When a wait ends.
struct Deadline {
    store::Time at = store::kNever;
    bool now = false;  ///< timeout 0: do not wait at all

    explicit Deadline(nb::handle timeout) {
        const std::int64_t span = timeout_ns(timeout);
        now = span == 0;
        if (span != kForever)
            at = store::Clock::now() +
                 std::chrono::ceil<store::Clock::duration>(std::chrono::nanoseconds(span));
    }
};

/// How long the calling thread may sleep without a look at signals: Python handles them on the main thread,
/// but the kernel may deliver them to any, so the main thread looks every 50 ms; others sleep through.
inline store::Time end_of_slice() {
    if (!on_main_thread()) return store::kNever;
    return store::Clock::now() + std::chrono::nanoseconds(kSignalSlice);
}

/// Sleeps in `wait(sleep)` until it has a result or the deadline passed.
template <class Wait>
store::Status park(const Deadline &deadline, Wait &&wait) {
    for (;;) {
        const auto until = std::min(deadline.at, end_of_slice());
        const store::Status status = wait([until](store::Parker &parker) noexcept {
            const Detached detached;
            return parker.park_until(until);
        });
        if (status != store::Status::absent) return status;
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
        if (store::Clock::now() >= deadline.at) return store::Status::absent;
    }
}

/// For type slots, which Python calls without nanobind between: C++ exceptions become Python's.
template <class Result, class Operation>
Result guarded(Result failed, Operation &&operation) noexcept {
    try {
        return operation();
    } catch (nb::python_error &error) {
        error.restore();
    } catch (const std::bad_alloc &) {
        PyErr_NoMemory();
    } catch (const std::exception &error) {
        PyErr_SetString(PyExc_RuntimeError, error.what());
    }
    return failed;
}

/// What is in `self`, for what guarded() calls.
template <class T>
T &instance(PyObject *self) {
    if (T *made = initialised<T>(self)) [[likely]]
        return *made;
    throw nb::python_error();
}

/// Stands for an argument that was left out, where None is a value.  Compared by identity, never handed out.
nb::handle not_given();

/// In a forked child: the tables that exist have waiters on the stacks of threads that do not.
void forget_tables_of_parent();

/// Every public call first checks that this process made the table.
///
/// A stored exception is an instance of `failure_type` (offgil.store.failure.Failure), told by its type.
class SharedStore {
  public:
    SharedStore(nb::handle failure_type, nb::handle sizeof_value, const store::Bounds &bounds)
        : failure_type_(failure_type), sizeof_(sizeof_value), table_(bounds, !sizeof_value.is_none()) {}
    SharedStore(const SharedStore &) = delete;
    ~SharedStore();

    bool put(nb::handle key, nb::handle value, nb::handle ttl, long priority, nb::handle topic,
             bool if_absent, nb::handle timeout);
    void setitem(nb::handle key, nb::handle value);

    nb::object getitem(nb::handle key);
    nb::object get(nb::handle key, nb::handle otherwise);
    nb::object peek(nb::handle key, nb::handle otherwise);
    bool contains(nb::handle key);

    void delitem(nb::handle key);
    nb::object remove(nb::handle key, nb::handle otherwise);

    nb::object wait(nb::handle key, nb::handle timeout);
    nb::object pop(nb::handle key, nb::handle otherwise, nb::handle timeout);
    nb::typed<nb::tuple, nb::str, nb::any> take(nb::handle topic, nb::handle timeout);

    std::size_t size();
    nb::typed<nb::list, nb::str> key_list();
    nb::list sightings();
    void clear();
    void close();
    bool closed() const { return table_.closed(); }
    store::TableStats counters() const { return table_.stats(); }

    /// Calls future._arrive(value, closed), or posts to the mailbox if there is one, once the key has a
    /// result; returns what unlisten() takes.
    nb::object listen(nb::handle key, nb::handle future, nb::handle mailbox);
    bool unlisten(nb::handle listener);

    /// The table, if it is this process's.
    Table &checked();
    bool ours() const;

    /// The value to hand out where a key is read: a stored exception is raised.
    nb::object read(Ref value) const;

    /// The value to hand out beside its key: a stored exception is given as an object.
    nb::object unwrap(Ref value) const;

    int traverse(visitproc visit, void *arg);
    void drop_references();

    /// Raises Closed for Status::closed.
    static store::Status open(store::Status status) {
        if (status == store::Status::closed) [[unlikely]]
            refuse_closed();
        return status;
    }

  private:
    bool is_failure(const Ref &value) const {
        return Py_TYPE(value.ptr()) == reinterpret_cast<PyTypeObject *>(failure_type_.ptr());
    }
    [[noreturn]] static void raise_fresh(const Ref &failure);
    std::size_t size_of(nb::handle value) const;
    bool publish(const KeyArgument &key, nb::handle value, Table::PutOptions &options, nb::handle timeout);
    [[noreturn]] void full(nb::handle key, std::size_t size, nb::handle timeout) const;

    /// Not changed after construction but by drop_references().
    Ref failure_type_;
    Ref sizeof_;
    Table table_;
    const unsigned born_ = forks();

    static unsigned forks();
    [[noreturn]] static void refuse_closed();
    [[noreturn]] static void refuse_foreign();
};

/// SharedListener, LoopMailbox, SharedCompletions and SharedLoan.
void bind_shared_waits(nb::module_ &m);

/// The object of a waiter that was linked by SharedStore::listen().
PyObject *listener_object(const store::Waiter<Ref> &waiter);

/// Gives up the table's reference to it.
void release_listener(store::Waiter<Ref> &waiter);

/// An iterator over the results of `keys` as they arrive.
nb::object as_completed(nb::handle_t<SharedStore> store, nb::iterable keys, nb::handle timeout);

}  // namespace offgil::binding
