// Binding of src_cpp/net.
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "binding/bind.h"
#include "net/version.h"

namespace offgil::binding {

using namespace nb::literals;

void bind_net(nb::module_ &m) {
    nb::class_<net::LibcurlInfo>(m, "LibcurlInfo", "What the linked libcurl is and can do.")
        .def_ro("version", &net::LibcurlInfo::version)
        .def_ro("tls_backend", &net::LibcurlInfo::tls_backend)
        .def_ro("features", &net::LibcurlInfo::features)
        .def_ro("protocols", &net::LibcurlInfo::protocols);
    m.def("libcurl_info", &net::libcurl_info, "Read the run-time libcurl's version and features.");
}

}  // namespace offgil::binding
