// One process that is attached to a segment: its slot, its liveness, and its way through fork().
//
// === Liveness ===
//
// A process holds a byte lock (F_OFD_SETLK) at its slot's index on an open file description of its own.  The
// kernel drops it when the process is gone, however it went; a pid proves nothing, it may be reused or belong
// to another namespace.  A used slot whose byte can be locked belonged to a process that died, and whoever
// locks it reaps it.
//
// === fork ===
//
// A child shares the parent's open file descriptions, so an inherited lock would keep a dead parent alive:
// the child closes its copy and takes a slot of its own at its first call that needs one.
//
// pthread_atfork sees every fork, also those that Python's hooks do not.
//
// A Process is an explicit object, not a global, so that tests run many of them as threads of one real
// process, where ThreadSanitizer can see them all.
//
// Locking: `slot_` is an atomic; it and `fd_` change under the file's one private mutex,
// which fork() holds too.
#pragma once

#include <atomic>
#include <memory>

#include "store/managed/segment.h"
#include "store/managed/table.h"
#include "store/managed/waiters.h"

namespace offgil::store::managed {

class Process {
  public:
    explicit Process(std::shared_ptr<Segment> segment);
    ~Process();
    Process(const Process &) = delete;
    Process &operator=(const Process &) = delete;

    /// The one Process of this real process for the segment behind `fd`, which it takes over.
    static std::shared_ptr<Process> attach(int fd);
    /// A new segment and this real process's one Process for it.
    static std::shared_ptr<Process> create(std::uint64_t max_bytes, std::uint32_t max_entries);

    const Segment &segment() const { return *segment_; }
    SpinBudget &spin() { return spin_; }
    bool joined() const { return slot_.load(std::memory_order_acquire) >= 0; }
    /// This process's slot; takes one on first use and after fork().  Throws Error(Unavailable)
    /// if none is free.
    std::uint32_t slot();
    /// Frees what dead processes left behind.
    void reap_dead();

    /// Keeps a record's value in place while threads of this process read it.  Both need the lock of its
    /// shard, which guards the count as well: the bit in the record is set by the first reader and
    /// cleared by the last.
    void pin(const ShardTable &shard, std::uint32_t record);
    void unpin(const ShardTable &shard, std::uint32_t record);

  private:
    friend struct ForkHandlers;
    std::uint32_t join();

    std::shared_ptr<Segment> segment_;
    SpinBudget spin_;
    std::atomic<int> slot_{-1};
    int fd_ = -1;  ///< carries the byte lock
    std::uint32_t
        *readers_;  ///< for each record: threads of this process that have it pinned; private, sparse
};

}  // namespace offgil::store::managed
