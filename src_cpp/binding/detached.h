// Leaving the interpreter and coming back, also while it is going away.
//
// === A thread that comes back too late ===
//
// Daemon threads may be in a call of ours when the interpreter is finalized.  Up to 3.12, and in the first
// releases of 3.13, the one that then attaches is ended by pthread_exit(), wherever it is: in
// PyEval_RestoreThread, or within Python code that we call, as soon as that gives up the GIL.  glibc does
// that by unwinding the stack like an exception.  Our destructors would give up references without the GIL,
// and nanobind's functions, which are noexcept or catch everything, would end the process ("terminate called
// without an active exception") or crash it.
//
// So the innermost C++ frame catches it and sleeps for ever, as newer interpreters have such threads do.
#pragma once

#include <nanobind/nanobind.h>
#include <unistd.h>

#include <exception>
#include <utility>

namespace offgil::binding {

namespace nb = nanobind;

/// Never returns: the process ends under the thread.
[[noreturn]] inline void hang() noexcept {
    for (;;) ::pause();
}

/// Runs `operation`, which attaches or calls Python.  Whatever is thrown and is no std::exception is the end
/// of the thread.
template <class Operation>
decltype(auto) or_hang(Operation &&operation) {
    try {
        return operation();
    } catch (const std::exception &) {
        throw;
    } catch (...) {
        hang();
    }
}

/// Detaches for as long as it lives.
class Detached {
  public:
    Detached() noexcept : state_(PyEval_SaveThread()) {}
    ~Detached() {
        or_hang([&] { PyEval_RestoreThread(state_); });
    }
    Detached(const Detached &) = delete;
    Detached &operator=(const Detached &) = delete;

  private:
    PyThreadState *const state_;
};

/// Attaches a detached thread for as long as it lives.
class Attached {
  public:
    Attached() noexcept : state_(or_hang([] { return PyGILState_Ensure(); })) {}
    ~Attached() { PyGILState_Release(state_); }
    Attached(const Attached &) = delete;
    Attached &operator=(const Attached &) = delete;

  private:
    const PyGILState_STATE state_;
};

/// The result of `operation`, run detached.
template <class Operation>
auto without_gil(Operation &&operation) {
    const Detached detached;
    return operation();
}

/// The result of calling a Python object.
template <class... Arguments>
nb::object call(nb::handle callable, Arguments &&...arguments) {
    return or_hang([&] { return callable(std::forward<Arguments>(arguments)...); });
}

}  // namespace offgil::binding
