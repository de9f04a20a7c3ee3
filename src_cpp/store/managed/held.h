// Shared memory that a process holds without a lock: a value that it reads, or one that it writes.
//
// === Its end ===
//
// Whoever holds such memory may drop it anywhere, also where Python collects garbage.  So its end waits for
// no lock: it tries the one that it needs, and if that is taken, leaves itself in the process's list of
// what is to be let go, which the next operation empties.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace offgil::store::managed {

class Process;

/// Used by one thread at a time.
class Held {
  public:
    enum class Use : std::uint8_t { Reading, Writing };

    Held(std::shared_ptr<Process> process, Use use, std::uint32_t shard, std::uint32_t record,
         std::span<std::byte> memory);
    Held(const Held &) = delete;
    Held &operator=(const Held &) = delete;

    Use use() const { return use_; }
    std::span<std::byte> memory() const { return memory_; }
    std::uint32_t shard() const { return shard_; }
    std::uint32_t record() const { return record_; }
    /// Whether it is this process that holds it, and not the one that this was forked from.
    bool is_ours() const;
    /// A written value was published: there is nothing to let go of.
    void forget() { record_ = 0, memory_ = {}; }

    /// Lets go; `held` is gone afterwards.
    static void drop(std::unique_ptr<Held> held);

  private:
    friend class Process;

    std::shared_ptr<Process> process_;
    Held *next_ = nullptr;  ///< in Process::dropped_, which owns it then
    std::uint32_t generation_;
    Use use_;
    std::uint32_t shard_, record_;
    std::span<std::byte> memory_;
};

/// For std::unique_ptr.
struct DropHeld {
    void operator()(Held *held) const { Held::drop(std::unique_ptr<Held>(held)); }
};
using HeldPointer = std::unique_ptr<Held, DropHeld>;

}  // namespace offgil::store::managed
