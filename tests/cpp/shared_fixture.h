// What the tests of the shared-state table have in common.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string_view>
#include <thread>

#include "store/shared/table.h"

namespace shared_tests {

using namespace offgil::store;
using namespace std::chrono_literals;

using Value = std::shared_ptr<const int>;
using Table = SharedTable<Value>;

inline Value boxed(int n) {
    return std::make_shared<const int>(n);
}

inline auto no_longer_than(std::chrono::microseconds limit) {
    return [until = Clock::now() + limit](Parker &parker) noexcept { return parker.park_until(until); };
}

inline bool forever(Parker &parker) noexcept {
    return parker.park_until(kNever);
}

/// For a put that waits for room.
inline auto until_room_or(std::chrono::microseconds limit) {
    return [end = Clock::now() + limit](Parker &parker, Time due) noexcept {
        if (parker.park_until(std::min(end, due))) return Nap::woken;
        return Clock::now() >= end ? Nap::gave_up : Nap::due;
    };
}

inline Table::PutOptions lasting(std::chrono::microseconds ttl) {
    return {.expires = Clock::now() + ttl};
}

inline void until_parked(const Table &table, std::size_t count) {
    while (table.stats().waiters != count) std::this_thread::yield();
}

inline void until_blocked(const Table &table, std::size_t count) {
    while (table.stats().blocked != count) std::this_thread::yield();
}

}  // namespace shared_tests
