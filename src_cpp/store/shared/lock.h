// What guards the state that the shards of a shared-state table have together and alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace offgil::store {

/// Specialised for values that only some threads can touch anyway, which may have a lock that costs less.
template <class V>
struct ShardLock {
    using type = std::mutex;
    static constexpr bool one_thread = false;  ///< whether one thread at a time can hold any of the locks
};

/// Numbers that rise.
template <class V>
class Sequence {
  public:
    /// The caller holds the lock of a shard.
    std::uint64_t next() noexcept {
        if constexpr (ShardLock<V>::one_thread) {
            const std::uint64_t number = last_.load(std::memory_order_relaxed) + 1;
            last_.store(number, std::memory_order_relaxed);
            return number;
        } else {
            return last_.fetch_add(1, std::memory_order_relaxed) + 1;
        }
    }

  private:
    std::atomic<std::uint64_t> last_{0};
};

}  // namespace offgil::store
