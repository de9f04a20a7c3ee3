// One process that is attached to a segment: its slot, its liveness, what it holds, and its way through
// fork().
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
// If the parent looks at values in shared memory, so will the child, from its first instruction on.  Its slot
// is then taken before the fork, and its pins are set: the parent may drop its own at once.
//
// pthread_atfork sees every fork, also those that Python's hooks do not.
//
// A Process is an explicit object, not a global, so that tests run many of them as threads of one real
// process, where ThreadSanitizer can see them all.
//
// === Locking ===
//
// `slot_`, `generation_` and `dropped_` are atomics.  `slot_`, `fd_` and `child_` change under the file's one
// private mutex, which fork() holds too.  `pins_` is guarded by `pins_mutex_`, which is taken last, in front
// of no other lock; fork() holds it, too, so that no pin comes or goes between the copy and the child.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "store/managed/held.h"
#include "store/managed/populate.h"
#include "store/managed/robust_mutex.h"
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
    /// A new segment and this real process's one Process for it; see Segment::create.
    static std::shared_ptr<Process> create(std::uint64_t max_bytes, std::uint32_t max_entries,
                                           Policy policy = Policy::Raise, int named_fd = -1);

    const Segment &segment() const { return *segment_; }
    SpinBudget &spin() { return spin_; }
    Populated &populated() { return populated_; }
    bool joined() const { return slot_.load(std::memory_order_acquire) >= 0; }
    /// This process's slot; takes one on first use and after fork().  Throws Error(Unavailable)
    /// if none is free.
    std::uint32_t slot();
    /// Grows with each fork, in the child.
    std::uint32_t generation() const { return generation_.load(std::memory_order_relaxed); }
    /// Frees what dead processes left behind.
    void reap_dead();

    /// Keeps a record's value in place for a thread that copies it, which ends with unpin(), or for a Held.
    /// Both need the lock of its shard: the bit in the record is set by the first and cleared by the last.
    void pin(const ShardTable &shard, std::uint32_t record);
    void unpin(const ShardTable &shard, std::uint32_t record);
    /// Makes the pin of a copier that of a Held.
    void keep(std::uint32_t record);

    /// Ends what `held` stands for; false if Mode::Try found a lock taken.
    bool let_go(const Held &held, Mode mode);
    /// Leaves it to the next let_go_dropped().
    void let_go_later(std::unique_ptr<Held> held);
    bool has_dropped() const { return dropped_.load(std::memory_order_relaxed); }
    void let_go_dropped();

  private:
    friend struct ForkHandlers;

    /// Threads and Helds of this process that have a record pinned.
    struct Pins {
        std::uint32_t copiers, held;
    };
    /// A slot and the file description that carries its byte lock.
    struct Place {
        int fd = -1;
        int slot = -1;
    };

    std::uint32_t join();
    Place take_place() const;
    void unpin_held(const ShardTable &shard, std::uint32_t record);
    void prepare_fork();
    void after_fork_in_child();

    std::shared_ptr<Segment> segment_;
    SpinBudget spin_;
    Populated populated_;
    std::atomic<int> slot_{-1};
    std::atomic<std::uint32_t> generation_{0};
    int fd_ = -1;  ///< carries the byte lock
    Place child_;  ///< of the child that is being forked
    std::mutex pins_mutex_;
    std::unordered_map<std::uint32_t, Pins> pins_;
    std::atomic<Held *> dropped_{nullptr};
};

}  // namespace offgil::store::managed
