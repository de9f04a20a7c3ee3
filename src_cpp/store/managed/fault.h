// Points at which tests kill the process; nothing at all in other builds.
#pragma once

namespace offgil::store::managed {

#ifdef OFFGIL_FAULT_POINTS
/// Defined by the test, which decides whether this is where it ends.
void fault_point();
#define OFFGIL_FAULT() ::offgil::store::managed::fault_point()
#else
#define OFFGIL_FAULT() static_cast<void>(0)
#endif

}  // namespace offgil::store::managed
