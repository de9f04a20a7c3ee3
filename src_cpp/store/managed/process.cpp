#include "store/managed/process.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <string>
#include <vector>

#include "store/managed/table.h"

namespace offgil::store::managed {

namespace {

/// Guards `processes` and each Process's slot_ and fd_.  Never taken with a shared mutex
/// held; fork() holds it.
std::mutex &private_mutex() {
    static std::mutex mutex;
    return mutex;
}

struct Known {
    Process *process;
    std::weak_ptr<Process> shared;  ///< empty for those that tests make themselves
};

std::vector<Known> &processes() {
    // Never destroyed: daemon threads may run on while the program exits.
    static auto &known = *new std::vector<Known>;
    return known;
}

bool lock_byte(int fd, std::uint32_t slot, short type) {
    struct flock range {};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    range.l_start = slot;
    range.l_len = 1;
    return fcntl(fd, F_OFD_SETLK, &range) == 0;
}

std::uint32_t pid_of_this() {
    return static_cast<std::uint32_t>(getpid());
}

std::shared_ptr<Process> share(std::shared_ptr<Process> process) {
    const std::lock_guard lock(private_mutex());
    for (Known &known : processes())
        if (known.process == process.get()) known.shared = process;
    return process;
}

/// The caller holds the byte lock of `slot`, so nobody else reaps or takes it.
void reap(const Segment &segment, std::uint32_t slot) {
    forget_waiters(segment, slot);
    OFFGIL_FAULT();
    for (std::uint32_t i = 0; i < segment.layout().shards; ++i) {
        const LockMutex lock = lock_shard(segment, i, Mode::Wait);
        ShardTable(segment, i).forget(slot);
        OFFGIL_FAULT();
    }
    segment.process(slot).used.store(0);
}

}  // namespace

struct ForkHandlers {
    ForkHandlers() { pthread_atfork(prepare, parent, child); }
    static void prepare() {
        private_mutex().lock();
        for (const Known &known : processes()) known.process->prepare_fork();
    }
    static void parent() {
        for (const Known &known : processes()) {
            Process &process = *known.process;
            // If the fork failed, this drops the byte lock, and the slot counts as that of a dead process.
            if (process.child_.fd >= 0) close(process.child_.fd);
            process.child_ = {};
            process.pins_mutex_.unlock();
        }
        private_mutex().unlock();
    }
    static void child() {
        for (const Known &known : processes()) {
            known.process->after_fork_in_child();
            known.process->pins_mutex_.unlock();
        }
        private_mutex().unlock();
    }
};

Process::Process(std::shared_ptr<Segment> segment) : segment_(std::move(segment)), populated_(*segment_) {
    static const ForkHandlers handlers;
    const std::lock_guard lock(private_mutex());
    processes().push_back({this, {}});
}

Process::~Process() {
    const std::lock_guard lock(private_mutex());
    std::erase_if(processes(), [this](const Known &known) { return known.process == this; });
    // No call is running, so nothing is being copied or waited for.  Held memory that could not be let go is
    // left to the reaper, by leaving the slot in use.
    const int slot = slot_.load();
    if (slot >= 0 && !has_dropped()) segment_->process(static_cast<std::uint32_t>(slot)).used.store(0);
    if (fd_ >= 0) close(fd_);
    for (Held *held = dropped_.load(); held;) {
        const std::unique_ptr<Held> owned(held);
        held = held->next_;
    }
}

// --- fork -----------------------------------------------------------------------------------------

void Process::prepare_fork() {
    // A place is taken without the mutex, since that may lock shards; so look again afterwards.
    for (bool tried = false;; tried = true) {
        pins_mutex_.lock();
        if (pins_.empty() || !joined() || tried) break;
        pins_mutex_.unlock();
        try {
            child_ = take_place();
        } catch (const Error &) {
            continue;  // The child cannot use the store either, and will say so.
        }
    }
    if (child_.slot < 0) return;
    const auto slot = static_cast<std::uint32_t>(child_.slot);
    // Without the shards' locks: our own pins keep all of these records in place.
    for (const auto &[record, pins] : pins_)
        if (pins.held) segment_->record(record).pins[slot / 64].fetch_or(std::uint64_t{1} << (slot % 64));
}

void Process::after_fork_in_child() {
    if (fd_ >= 0) close(fd_);
    fd_ = child_.fd;
    slot_ = child_.slot;
    child_ = {};
    if (slot_ >= 0) segment_->process(static_cast<std::uint32_t>(slot_.load())).pid.store(pid_of_this());
    ++generation_;
    populated_.forget();
    // The threads that copied are not here.
    std::erase_if(pins_, [this](const auto &pinned) { return slot_ < 0 || !pinned.second.held; });
    for (auto &[record, pins] : pins_) pins.copiers = 0;
}

// --- what this process holds ----------------------------------------------------------------------

void Process::pin(const ShardTable &shard, std::uint32_t record) {
    const std::uint32_t own = slot();
    const std::lock_guard lock(pins_mutex_);
    Pins &pins = pins_[record];
    if (pins.copiers++ + pins.held == 0) shard.pin(record, own);
}

void Process::unpin(const ShardTable &shard, std::uint32_t record) {
    {
        const std::lock_guard lock(pins_mutex_);
        const auto found = pins_.find(record);
        if (found == pins_.end() || --found->second.copiers + found->second.held) return;
        pins_.erase(found);
    }
    shard.unpin(record, slot());
}

void Process::keep(std::uint32_t record) {
    const std::lock_guard lock(pins_mutex_);
    Pins &pins = pins_[record];
    --pins.copiers;
    ++pins.held;
}

void Process::unpin_held(const ShardTable &shard, std::uint32_t record) {
    {
        const std::lock_guard lock(pins_mutex_);
        const auto found = pins_.find(record);
        // Not there: a child of fork for which there was no slot.
        if (found == pins_.end() || found->second.copiers + --found->second.held) return;
        pins_.erase(found);
    }
    shard.unpin(record, slot());
}

bool Process::let_go(const Held &held, Mode mode) {
    // What is being written belongs to the process that began it.
    if (held.use_ == Held::Use::Writing && held.generation_ != generation()) return true;
    try {
        const ShardTable shard(*segment_, held.shard_);
        const LockMutex lock = lock_shard(*segment_, held.shard_, mode);
        if (!lock.held()) return false;
        if (held.use_ == Held::Use::Writing) {
            shard.abandon(held.record_);
            notify_room(*segment_);
        } else {
            unpin_held(shard, held.record_);
        }
    } catch (const std::exception &) {
        // Damaged; whoever works with the store next will be told.
    }
    return true;
}

void Process::let_go_later(std::unique_ptr<Held> held) {
    Held *const node = held.release();
    node->next_ = dropped_.load(std::memory_order_relaxed);
    while (!dropped_.compare_exchange_weak(node->next_, node, std::memory_order_release)) continue;
}

void Process::let_go_dropped() {
    for (Held *held = dropped_.exchange(nullptr, std::memory_order_acquire); held;) {
        const std::unique_ptr<Held> owned(held);
        held = held->next_;
        let_go(*owned, Mode::Wait);
    }
}

// --- coming and going -----------------------------------------------------------------------------

std::shared_ptr<Process> Process::create(std::uint64_t max_bytes, std::uint32_t max_entries, Policy policy,
                                         int named_fd) {
    return share(std::make_shared<Process>(Segment::create(max_bytes, max_entries, policy, named_fd)));
}

std::shared_ptr<Process> Process::attach(int fd) {
    {
        const std::lock_guard lock(private_mutex());
        for (const Known &known : processes()) {
            if (!known.process->segment_->is(fd)) continue;
            if (std::shared_ptr<Process> process = known.shared.lock()) {
                close(fd);
                return process;
            }
        }
    }
    return share(std::make_shared<Process>(Segment::attach(fd)));
}

std::uint32_t Process::slot() {
    const int slot = slot_.load(std::memory_order_acquire);
    return slot >= 0 ? static_cast<std::uint32_t>(slot) : join();
}

std::uint32_t Process::join() {
    const std::lock_guard lock(private_mutex());
    if (const int slot = slot_.load(); slot >= 0) return static_cast<std::uint32_t>(slot);
    const Place place = take_place();
    fd_ = place.fd;
    slot_.store(place.slot, std::memory_order_release);
    return static_cast<std::uint32_t>(place.slot);
}

Process::Place Process::take_place() const {
    // A description of our own: one that came through fork() or a message shares its locks
    // with another process.
    const std::string path = "/proc/self/fd/" + std::to_string(segment_->fd());
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0)
        throw Error(ErrorKind::Unavailable, "cannot open " + path + " (" + std::strerror(errno) +
                                                "); a managed store needs /proc and the user that made it");
    try {
        for (std::uint32_t i = 0; i < kProcesses; ++i) {
            if (!lock_byte(fd, i, F_WRLCK)) continue;
            ProcessSlot &slot = segment_->process(i);
            // First: who waits for a lock of the reaper's looks for its pid (robust_mutex.cpp).
            slot.pid.store(pid_of_this());
            slot.pid_namespace.store(pid_namespace());
            if (slot.used.load()) reap(*segment_, i);
            slot.used.store(1);
            OFFGIL_FAULT();
            return {fd, static_cast<int>(i)};
        }
    } catch (...) {
        close(fd);
        throw;
    }
    close(fd);
    throw Error(ErrorKind::Unavailable,
                "256 processes use this store already; a managed store has no more places");
}

void Process::reap_dead() {
    const std::uint32_t own = slot();
    const std::lock_guard lock(private_mutex());
    for (std::uint32_t i = 0; i < kProcesses; ++i) {
        if (i == own || !segment_->process(i).used.load() || !lock_byte(fd_, i, F_WRLCK)) continue;
        if (segment_->process(i).used.load()) reap(*segment_, i);
        lock_byte(fd_, i, F_UNLCK);
    }
}

}  // namespace offgil::store::managed
