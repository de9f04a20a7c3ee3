// Which lock guards the shards of a shared-state table.
#pragma once

#include <mutex>

namespace offgil::store {

/// Specialised for values that only some threads can touch anyway, which may have a lock that costs less.
template <class V>
struct ShardLock {
    using type = std::mutex;
};

}  // namespace offgil::store
