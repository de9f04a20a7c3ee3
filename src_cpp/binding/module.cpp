// The extension module offgil._core: one bind_* function per core, nothing else.
#include "binding/bind.h"

NB_MODULE(_core, m) {
    m.doc() = "Native core of offgil: HTTP on libcurl and result stores. Use the offgil package instead.";
#ifdef NDEBUG
    // A daemon thread parked in a store when the interpreter exits keeps that store alive, which is no leak
    // of ours.
    nanobind::set_leak_warnings(false);
#endif
    offgil::binding::bind_signals(m);
#ifdef OFFGIL_HAS_MANAGED
    offgil::binding::bind_managed_store(m);
#endif
    offgil::binding::bind_net(m);
    offgil::binding::bind_runtime(m);
    offgil::binding::bind_shared_store(m);
}
