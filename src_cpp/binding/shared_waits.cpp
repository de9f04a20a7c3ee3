// Waiting without a thread of one's own: futures, asyncio tasks, many keys at once; and memory to write into.
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "binding/shared_store.h"
#include "store/shared/group.h"

namespace offgil::binding {

using namespace nb::literals;
using store::Status;

namespace {

/// What an asyncio loop has yet to tell its futures.
///
/// Publishers append; whoever finds the box idle asks the loop, once, to empty it.  However many results come
/// before the loop gets there, that is one wake-up.
///
/// Locking: `lock_` guards `letters_` and `armed_`, and nothing is called under it.
class Mailbox {
  public:
    explicit Mailbox(nb::handle loop) : loop_(loop) {}

    const Ref &loop() const { return loop_; }

    /// No value: the store was closed.
    void post(nb::handle self, Ref future, std::optional<Ref> value) {
        {
            const std::lock_guard hold(lock_);
            letters_.push_back({std::move(future), std::move(value)});
            if (std::exchange(armed_, true)) return;
        }
        for (bool interrupted = false;; interrupted = true) {
            try {
                call(loop_.attr("call_soon_threadsafe"), self);
            } catch (nb::python_error &error) {
                // Ctrl-C in the midst of it, which is for whoever publishes: not the loop's loss.
                if (error.matches(PyExc_KeyboardInterrupt)) continue;
                // The loop was closed, and its tasks with it.
                empty();
                if (!error.matches(PyExc_RuntimeError)) throw;
            }
            if (interrupted) PyErr_SetInterrupt();
            return;
        }
    }

    /// Runs in the loop.
    void deliver() {
        for (Letter &letter : empty()) {
            if (nb::cast<bool>(call(letter.future.attr("done")))) continue;
            if (letter.value)
                call(letter.future.attr("set_result"), *letter.value);
            else
                call(letter.future.attr("set_exception"),
                     nb::module_::import_("offgil.errors")
                         .attr("Closed")("the shared-state store was closed"));
        }
    }

    int traverse(visitproc visit, void *arg) {
        Py_VISIT(loop_.ptr());
        for (const Letter &letter : letters_) {
            Py_VISIT(letter.future.ptr());
            if (letter.value) Py_VISIT(letter.value->ptr());
        }
        return 0;
    }

  private:
    struct Letter {
        Ref future;
        std::optional<Ref> value;
    };

    std::vector<Letter> empty() {
        const std::lock_guard hold(lock_);
        armed_ = false;
        return std::exchange(letters_, {});
    }

    const Ref loop_;
    std::mutex lock_;
    std::vector<Letter> letters_;
    bool armed_ = false;  ///< the loop was asked and has not come yet
};

/// Where a base that only views the key finds it.
struct KeyHolder {
    store::OwnedKey own;
};

/// One future that waits for one key.  The table's link owns a reference to the Python object that this is
/// in.
class Listener final : private KeyHolder, public store::Waiter<Ref> {
  public:
    Listener(const store::Key &key, nb::handle future, nb::handle mailbox)
        : KeyHolder{key}, Waiter(own.view(), Wants::copy), future_(future), mailbox_(mailbox) {}

    bool calls_out() const noexcept override { return true; }

    /// The publisher is attached, and no lock is held.
    void deliver() noexcept override {
        const nb::object self = nb::steal(std::exchange(linked_object, nullptr));
        const nb::error_scope nothing_raised;
        try {
            std::optional<Ref> value = std::exchange(copy, std::nullopt);
            if (!mailbox_.is_none())
                nb::cast<Mailbox &>(mailbox_).post(mailbox_, std::move(future_), std::move(value));
            else
                call(Ref(std::move(future_)).attr("_arrive"), value ? nb::object(*value) : nb::none(),
                     !value);
        } catch (nb::python_error &error) {
            // A put cannot fail any more: Ctrl-C is raised anew after it, and the rest is reported.
            if (error.matches(PyExc_KeyboardInterrupt))
                PyErr_SetInterrupt();
            else
                error.discard_as_unraisable("a result's way to its future");
        } catch (const std::exception &error) {
            PyErr_SetString(PyExc_MemoryError, error.what());
            PyErr_WriteUnraisable(self.ptr());
        }
    }

    int traverse(visitproc visit, void *arg) {
        Py_VISIT(future_.ptr());
        Py_VISIT(mailbox_.ptr());
        if (copy) Py_VISIT(copy->ptr());
        return 0;
    }

    PyObject *linked_object = nullptr;  ///< the reference of the table's link

  private:
    Ref future_;
    const Ref mailbox_;  ///< None: the future is told directly
};

/// The iterator of as_completed().
class Completions {
  public:
    Completions(nb::handle store, std::vector<Ref> names, std::vector<store::OwnedKey> keys,
                nb::handle timeout)
        : store_(store),
          timeout_(timeout),
          deadline_(timeout),
          owner_(nb::cast<SharedStore &>(store)),
          names_(std::move(names)) {
        group_ = std::make_shared<store::KeyGroup<Ref>>(owner_.checked());
        try {
            SharedStore::open(group_->start(std::move(keys)));
        } catch (...) {
            group_->stop();
            throw;
        }
    }
    Completions(const Completions &) = delete;
    /// Takes locks, as a finalizer may only where no Python runs under them.
    ~Completions() { stop(); }

    /// Null at the end.
    nb::object next() {
        const Turn turn(busy_, "two threads use one as_completed() iterator: give each its own");
        if (!group_ || group_->missing() == 0) return {};
        owner_.checked();
        std::size_t position = 0;
        Ref value;
        const Status status =
            park(deadline_, [&](auto sleep) { return group_->next(position, value, sleep); });
        if (status == Status::ok)
            return nb::make_tuple(std::move(names_[position]), owner_.unwrap(std::move(value)));
        const std::size_t missing = group_->missing();
        stop();
        SharedStore::open(status);
        raise("StoreTimeout", std::to_string(missing) + " of the awaited keys have no result within " +
                                  nb::str(timeout_).c_str() + " s");
    }

    int traverse(visitproc visit, void *arg) {
        Py_VISIT(store_.ptr());
        int stopped = 0;
        if (group_)
            group_->visit([&](const Ref &value) {
                if (!stopped && value.is_valid()) stopped = visit(value.ptr(), arg);
            });
        return stopped;
    }

    void stop() {
        if (!group_) return;
        // In a forked child the waiters' links lead nowhere that may be touched.
        if (owner_.ours()) group_->stop();
        group_.reset();
    }

  private:
    const Ref store_;
    const Ref timeout_;
    const Deadline deadline_;
    SharedStore &owner_;      ///< what store_ keeps alive
    std::vector<Ref> names_;  ///< the keys, each of the very type str, until it is handed out
    std::shared_ptr<store::KeyGroup<Ref>> group_;  ///< null at the end
    std::atomic_flag busy_;
};

/// A bytes object that nobody else has seen yet, to write into.
class Loan {
  public:
    explicit Loan(Py_ssize_t size) : bytes_(nb::steal(PyBytes_FromStringAndSize(nullptr, size))) {
        if (!bytes_.is_valid()) throw nb::python_error();
    }

    /// The bytes, now that nothing can write to them any more.
    nb::bytes finish() {
        if (exports_.close()) return nb::borrow<nb::bytes>(bytes_);
        PyErr_SetString(PyExc_BufferError, "something still looks at the reserved memory");
        throw nb::python_error();
    }

    int get_buffer(PyObject *self, Py_buffer *view, int flags) {
        if (!exports_.add()) return -1;
        const int rc = PyBuffer_FillInfo(view, self, PyBytes_AS_STRING(bytes_.ptr()),
                                         PyBytes_GET_SIZE(bytes_.ptr()), false, flags);
        if (rc != 0) exports_.remove();
        return rc;
    }

    void release_buffer() { exports_.remove(); }

  private:
    const nb::object bytes_;
    Exports exports_;
};

template <class T>
int tp_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    return nb::inst_ready(self) ? nb::inst_ptr<T>(self)->traverse(visit, arg) : 0;
}

// None of these has a tp_clear: in every cycle that they are part of there is a store, a future or a loop,
// which have one.
template <class T>
PyType_Slot gc_slots[] = {
    {Py_tp_traverse, reinterpret_cast<void *>(tp_traverse<T>)},
    {0, nullptr},
};

PyType_Slot completions_slots[] = {
    {Py_tp_traverse, reinterpret_cast<void *>(tp_traverse<Completions>)},
    {Py_tp_iter, reinterpret_cast<void *>(PyObject_SelfIter)},
    {Py_tp_iternext, reinterpret_cast<void *>(+[](PyObject *self) {
         return guarded<PyObject *>(nullptr,
                                    [&] { return instance<Completions>(self).next().release().ptr(); });
     })},
    {0, nullptr},
};

PyType_Slot loan_slots[] = {
    {Py_bf_getbuffer, reinterpret_cast<void *>(+[](PyObject *self, Py_buffer *view, int flags) {
         auto *loan = initialised<Loan>(self);
         return loan ? loan->get_buffer(self, view, flags) : -1;
     })},
    {Py_bf_releasebuffer, reinterpret_cast<void *>(+[](PyObject *self, Py_buffer *) {
         nb::inst_ptr<Loan>(self)->release_buffer();
     })},
    {0, nullptr},
};

}  // namespace

PyObject *listener_object(const store::Waiter<Ref> &waiter) {
    return static_cast<const Listener &>(waiter).linked_object;
}

void release_listener(store::Waiter<Ref> &waiter) {
    nb::steal(std::exchange(static_cast<Listener &>(waiter).linked_object, nullptr));
}

nb::object SharedStore::listen(nb::handle key, nb::handle future, nb::handle mailbox) {
    Table &table = checked();
    auto *listener = new Listener(KeyArgument(key), future, mailbox);
    nb::object object = nb::cast(listener, nb::rv_policy::take_ownership);
    listener->linked_object = nb::object(object).release().ptr();
    Status status = Status::closed;
    try {
        status = table.watch(*listener);
    } catch (...) {
        release_listener(*listener);
        throw;
    }
    if (status == Status::ok) listener->deliver();
    if (status == Status::closed) release_listener(*listener);
    open(status);
    return object;
}

bool SharedStore::unlisten(nb::handle object) {
    if (!ours()) return false;
    Listener &listener = nb::cast<Listener &>(object);
    if (!table_.unwatch(listener)) return false;
    release_listener(listener);
    return true;
}

nb::object as_completed(nb::handle_t<SharedStore> store, nb::iterable keys, nb::handle timeout) {
    std::vector<Ref> names;
    std::vector<store::OwnedKey> owned;
    for (nb::handle object : keys) {
        const KeyArgument argument(object);
        const store::Key &key = argument;
        names.emplace_back(PyUnicode_CheckExact(object.ptr()) ? nb::borrow(object) : str_of(key.name));
        owned.emplace_back(key);
    }
    return nb::cast(new Completions(store, std::move(names), std::move(owned), timeout),
                    nb::rv_policy::take_ownership);
}

void bind_shared_waits(nb::module_ &m) {
    nb::class_<Listener>(m, "SharedListener", nb::type_slots(gc_slots<Listener>),
                         "One future that waits for one key.");
    nb::class_<Mailbox>(
        m, "LoopMailbox", nb::type_slots(gc_slots<Mailbox>), nb::is_weak_referenceable(),
        "What an asyncio loop has yet to tell its futures; one wake-up of the loop for all of it.")
        .def(nb::init<nb::handle>(), "loop"_a)
        .def_prop_ro("loop", [](const Mailbox &self) { return nb::object(self.loop()); })
        .def("__call__", &Mailbox::deliver);
    nb::class_<Completions>(m, "SharedCompletions", nb::type_slots(completions_slots),
                            "The iterator of as_completed.");
    nb::class_<Loan>(m, "SharedLoan", nb::type_slots(loan_slots),
                     "A bytes object to write into before it is seen.")
        .def(nb::init<Py_ssize_t>(), "size"_a)
        .def("finish", &Loan::finish, "The bytes; BufferError while something looks at them.");
}

}  // namespace offgil::binding
