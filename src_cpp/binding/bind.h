// What the files of this folder share.
#pragma once

#include <nanobind/nanobind.h>

namespace offgil::binding {

namespace nb = nanobind;

void bind_managed_store(nb::module_ &m);
void bind_net(nb::module_ &m);
void bind_runtime(nb::module_ &m);
void bind_shared_store(nb::module_ &m);

}  // namespace offgil::binding
