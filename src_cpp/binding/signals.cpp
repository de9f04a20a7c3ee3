// How a detached wait notices Ctrl-C.
//
// Python runs signal handlers on the main thread only, between bytecodes: a native wait has to come back now
// and then and ask.  A signal that reaches the main thread ends its poll(2) early with EINTR; one that the
// kernel gives to another thread does not, which is what the 50 ms slices are for.

#include <atomic>

#include "binding/bind.h"

namespace offgil::binding {

namespace {

std::atomic<unsigned long> main_thread{0};

}  // namespace

bool signal_pending(void *) {
    const Attached attached;
    return PyErr_CheckSignals() != 0;
}

void bind_signals(nb::module_ &) {
    main_thread =
        nb::cast<unsigned long>(nb::module_::import_("threading").attr("main_thread")().attr("ident"));
    nb::object adopt = nb::cpp_function([] { main_thread = PyThread_get_thread_ident(); });
    nb::module_::import_("os").attr("register_at_fork")(nb::arg("after_in_child") = adopt);
}

bool on_main_thread() {
    return PyThread_get_thread_ident() == main_thread.load(std::memory_order_relaxed);
}

net::Interrupt signal_check() {
    if (!on_main_thread()) return {};
    return {&signal_pending, nullptr, kSignalSlice};
}

}  // namespace offgil::binding
