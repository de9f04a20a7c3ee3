#include "binding/detached.h"

#include <unistd.h>

namespace offgil::binding {

void hang() noexcept {
    for (;;) ::pause();
}

}  // namespace offgil::binding
