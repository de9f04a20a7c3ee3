#include "store/managed/process.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

std::size_t readers_bytes(const Segment &segment) {
    return std::size_t{4} * segment.layout().records;
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
    for (std::uint32_t i = 0; i < segment.layout().shards; ++i) {
        const LockMutex lock = lock_shard(segment, i, Mode::Wait);
        ShardTable(segment, i).forget(slot);
    }
    segment.process(slot).used.store(0);
}

}  // namespace

struct ForkHandlers {
    ForkHandlers() { pthread_atfork(prepare, parent, child); }
    static void prepare() { private_mutex().lock(); }
    static void parent() { private_mutex().unlock(); }
    static void child() {
        for (const Known &known : processes()) {
            if (known.process->fd_ >= 0) close(known.process->fd_);
            known.process->fd_ = -1;
            known.process->slot_ = -1;
            // The parent's readers are not here, and their bits are the parent's.
            madvise(known.process->readers_, readers_bytes(*known.process->segment_), MADV_DONTNEED);
        }
        private_mutex().unlock();
    }
};

Process::Process(std::shared_ptr<Segment> segment) : segment_(std::move(segment)) {
    static const ForkHandlers handlers;
    void *memory = mmap(nullptr, readers_bytes(*segment_), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    readers_ = static_cast<std::uint32_t *>(memory);
    const std::lock_guard lock(private_mutex());
    processes().push_back({this, {}});
}

Process::~Process() {
    const std::lock_guard lock(private_mutex());
    std::erase_if(processes(), [this](const Known &known) { return known.process == this; });
    // No call is running, so nothing is pinned, being built or waited for: the slot is clean.
    const int slot = slot_.load();
    if (slot >= 0) segment_->process(static_cast<std::uint32_t>(slot)).used.store(0);
    if (fd_ >= 0) close(fd_);
    munmap(readers_, readers_bytes(*segment_));
}

void Process::pin(const ShardTable &shard, std::uint32_t record) {
    if (readers_[record]++ == 0) shard.pin(record, slot());
}

void Process::unpin(const ShardTable &shard, std::uint32_t record) {
    if (--readers_[record] == 0) shard.unpin(record, slot());
}

std::shared_ptr<Process> Process::create(std::uint64_t max_bytes, std::uint32_t max_entries) {
    return share(std::make_shared<Process>(Segment::create(max_bytes, max_entries)));
}

std::shared_ptr<Process> Process::attach(int fd) {
    struct stat info {};
    if (fstat(fd, &info) == 0) {
        const std::lock_guard lock(private_mutex());
        for (const Known &known : processes()) {
            if (known.process->segment_->inode() != info.st_ino) continue;
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
    // A description of our own: one that came through fork() or a message shares its locks
    // with another process.
    const std::string path = "/proc/self/fd/" + std::to_string(segment_->fd());
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0)
        throw Error(ErrorKind::Unavailable, "cannot open " + path + " (" + std::strerror(errno) +
                                                "); a managed store needs /proc and the user that made it");
    for (std::uint32_t i = 0; i < kProcesses; ++i) {
        if (!lock_byte(fd, i, F_WRLCK)) continue;
        ProcessSlot &slot = segment_->process(i);
        try {
            if (slot.used.load()) reap(*segment_, i);
        } catch (...) {
            close(fd);
            throw;
        }
        slot.used.store(1);
        fd_ = fd;
        slot_.store(static_cast<int>(i), std::memory_order_release);
        return i;
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
