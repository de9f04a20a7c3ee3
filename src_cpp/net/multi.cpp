#include "net/multi.h"

#include <algorithm>
#include <new>

namespace offgil::net {

Multi::Multi() : handle_(curl_multi_init()) {
    if (!handle_) throw std::bad_alloc();
}

void Multi::close() {
    closed_.store(true, std::memory_order_release);
    curl_multi_wakeup(handle());
}

void Multi::wake() {
    woken_.store(true, std::memory_order_release);
    curl_multi_wakeup(handle());
}

bool Multi::poll(Nanos now, Nanos deadline) {
    // Rounded up: waking a fraction of a millisecond early would spin until the deadline.
    constexpr Nanos longest = 3600 * 1000;
    Nanos milliseconds = 0;
    // Except where little is left: a limit may be that short.
    if (deadline - now > kMillisecond / 10)
        milliseconds = std::min((deadline - now - 1) / kMillisecond + 1, longest);
    int ready = 0;
    curl_multi_poll(handle(), nullptr, 0, static_cast<int>(milliseconds), &ready);
    return ready > 0;
}

Added add(Multi &multi, CURL *easy) {
    curl_multi_add_handle(multi.handle(), easy);
    return Added(easy, {multi.handle()});
}

}  // namespace offgil::net
