#include "store/managed/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>

#include "store/managed/robust_mutex.h"

namespace offgil::store::managed {

namespace {

constexpr std::uint64_t kDefaultRecords = 1 << 20;
constexpr std::uint32_t kMaxRecords = 1U << 30;
constexpr char kMagic[8] = {'O', 'F', 'F', 'G', 'I', 'L', 'S', '1'};

/// Closes a descriptor unless release() was called.
class CloseFd {
  public:
    explicit CloseFd(int fd) : fd_(fd) {}
    ~CloseFd() {
        if (fd_ >= 0) close(fd_);
    }
    CloseFd(const CloseFd &) = delete;
    CloseFd &operator=(const CloseFd &) = delete;
    void release() { fd_ = -1; }

  private:
    int fd_;
};

[[noreturn]] void fail_system(const char *what) {
    throw Error(ErrorKind::Unavailable,
                std::string("shared memory is not available: ") + what + ": " + std::strerror(errno));
}

std::string boot_id() {
    std::string id;
    std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), id);
    return id.substr(0, sizeof(Header::boot_id) - 1);
}

std::byte *map(int fd, std::uint64_t bytes) {
    void *base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) fail_system("mmap");
    return static_cast<std::byte *>(base);
}

}  // namespace

std::shared_ptr<Segment> Segment::create(std::uint64_t max_bytes, std::uint32_t max_entries, Policy policy,
                                         int named_fd) {
    const bool named = named_fd >= 0;
    const int fd = named ? named_fd : memfd_create("offgil", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) fail_system("memfd_create");
    CloseFd guard(fd);

    Config config{};
    config.data_bytes = (std::min(max_bytes, kMaxSegment) + kPage - 1) / kPage * kPage;
    config.max_entries = max_entries;
    config.policy = policy;
    config.named = named;
    // An eighth more: a record stays with the shard that had it first, and keys do not spread evenly.
    const std::uint64_t records = max_entries ? max_entries + max_entries / 8 : kDefaultRecords;
    config.record_count =
        static_cast<std::uint32_t>((records + kGroupRecords) / kGroupRecords * kGroupRecords);
    config.record_count += Layout(config).shards * kGroupRecords;
    const Layout layout(config);
    if (layout.total >= kMaxSegment)
        throw Error(ErrorKind::Unavailable, "a managed store ends at 256 GiB; choose smaller max_bytes");
    if (getrandom(&config.seed, sizeof config.seed, 0) != sizeof config.seed) fail_system("getrandom");

    if (fchmod(fd, 0600)) fail_system("fchmod");
    if (ftruncate(fd, static_cast<off_t>(layout.total))) fail_system("ftruncate");
    // A named file can have no seals: its name gives it to processes that could not add them.
    if (!named && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) fail_system("sealing");

    std::shared_ptr<Segment> segment(new Segment(fd, map(fd, layout.total), config));
    guard.release();
    // What is looked at without being in use first.  On some file systems even reading gives a page memory.
    if (!segment->back(0, layout.at_ranks) || !segment->back_topic(0) || !segment->back_group(0))
        fail_system("the file system of named stores has no room for this one");
    Header &header = segment->header();
    std::memcpy(header.magic, kMagic, sizeof kMagic);
    header.version = kVersion;
    header.endian = kEndianMark;
    header.abi = abi_checksum();
    boot_id().copy(header.boot_id, sizeof header.boot_id - 1);
    header.uid = geteuid();
    header.config = config;
    init_mutex(header.page_lock);
    init_mutex(header.topic_lock);
    for (std::uint32_t i = 0; i < layout.shards; ++i) init_mutex(segment->shard(i).lock);
    header.state.store(SegmentState::Ready);
    return segment;
}

bool Segment::back(std::uint64_t offset, std::uint64_t bytes) const {
    if (!config_.named) return true;
    // In steps: a signal, of a profiler's timer for instance, makes the kernel take back what it gave in one.
    constexpr std::uint64_t step = 1 << 20;
    for (const std::uint64_t end = offset + std::max(bytes, std::uint64_t{1}); offset < end;) {
        const std::uint64_t size = std::min(step, end - offset);
        const int error = posix_fallocate(fd_, static_cast<off_t>(offset), static_cast<off_t>(size));
        if (error == EINTR) continue;
        errno = error;
        if (error) return false;
        offset += size;
    }
    return true;
}

bool Segment::is(int fd) const {
    struct stat mine {
    }, other{};
    return fstat(fd_, &mine) == 0 && fstat(fd, &other) == 0 && mine.st_dev == other.st_dev &&
           mine.st_ino == other.st_ino;
}

std::shared_ptr<Segment> Segment::attach(int fd) {
    CloseFd guard(fd);
    struct stat info {};
    if (fstat(fd, &info)) fail_system("fstat");
    const auto size = static_cast<std::uint64_t>(info.st_size);
    if (info.st_uid != geteuid()) fail_corrupted("it belongs to another user");
    if (info.st_mode & 077) fail_corrupted("other users may open it");
    if (size < 4096) fail_corrupted("it is too short for a store");
    const int seals = fcntl(fd, F_GET_SEALS);

    // Copied out first, so that what was verified is what is used.
    std::byte *base = map(fd, 4096);
    const auto &seen = *reinterpret_cast<const Header *>(base);
    const Config config = seen.config;
    const char *wrong = nullptr;
    if (std::memcmp(seen.magic, kMagic, sizeof kMagic) != 0)
        wrong = "the magic number is not there";
    else if (seen.endian != kEndianMark || seen.version != kVersion || seen.abi != abi_checksum())
        wrong = "it was made by another version or build of offgil";
    else if (boot_id() != std::string(seen.boot_id, strnlen(seen.boot_id, sizeof seen.boot_id)))
        wrong = "it is from before the last boot";
    else if (seen.uid != geteuid())
        wrong = "it belongs to another user";
    else if (seen.state.load() == SegmentState::Initialising)
        wrong = "its creator died while making it";
    else if (!config.named && (seals < 0 || !(seals & F_SEAL_SHRINK)))
        wrong = "it is not a store's memory";
    else if (config.policy > Policy::Evict || config.named > 1 || config.data_bytes == 0 ||
             config.data_bytes % kPage || config.data_bytes > kMaxSegment || config.record_count == 0 ||
             config.record_count % kGroupRecords || config.record_count > kMaxRecords ||
             Layout(config).total != size)
        wrong = "its size does not match its header";
    munmap(base, 4096);
    if (wrong) fail_corrupted(wrong);

    std::shared_ptr<Segment> segment(new Segment(fd, map(fd, size), config));
    guard.release();
    return segment;
}

Segment::~Segment() {
    munmap(base_, layout_.total);
    close(fd_);
}

std::uint32_t Segment::hash(std::string_view key) const {
    // Multiply and fold, eight bytes at a time.  The seed is per segment, so nobody outside can choose keys
    // that all fall into one chain.
    constexpr std::uint64_t odd = 0x9e3779b97f4a7c15;
    const std::uint64_t seed = config_.seed;
    std::uint64_t h = (seed ^ key.size()) * odd;
    while (!key.empty()) {
        std::uint64_t word = 0;
        const std::size_t n = std::min<std::size_t>(key.size(), 8);
        std::memcpy(&word, key.data(), n);
        h = (h ^ word ^ seed) * odd;
        h ^= h >> 29;
        key.remove_prefix(n);
    }
    h *= odd;
    return static_cast<std::uint32_t>(h >> 32);
}

}  // namespace offgil::store::managed
