// What only C can ask the interpreter: whether an extension module declared that it can run without the GIL.
#include <nanobind/stl/optional.h>

#include <optional>

#include "binding/bind.h"

namespace offgil::binding {

using namespace nb::literals;

namespace {

/// Reads the declaration where CPython reads it, in the slots of the module's definition.  A module with
/// single-phase initialisation makes it by a call, which only the interpreter's private struct remembers:
/// nothing is known of those.
std::optional<bool> declares_free_threading(nb::handle module) {
#ifdef Py_mod_gil
    if (!PyModule_Check(module.ptr())) return std::nullopt;
    const PyModuleDef *def = PyModule_GetDef(module.ptr());
    if (!def || !def->m_slots) return std::nullopt;
    for (const PyModuleDef_Slot *slot = def->m_slots; slot->slot; ++slot)
        if (slot->slot == Py_mod_gil) return slot->value == Py_MOD_GIL_NOT_USED;
    return false;
#else
    (void)module;
    return std::nullopt;
#endif
}

}  // namespace

void bind_runtime(nb::module_ &m) {
    m.def("declares_free_threading", &declares_free_threading, "module"_a,
          "Whether an extension module declared that it needs no GIL; None where that cannot be known.");
}

}  // namespace offgil::binding
