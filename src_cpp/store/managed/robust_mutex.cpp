#include "store/managed/robust_mutex.h"

#include <sys/stat.h>

#include <fstream>
#include <string>

namespace offgil::store::managed {

namespace {

constexpr std::int64_t kSlice = 20'000'000;
constexpr std::int64_t kPatience = 400'000'000;  ///< before the owner is doubted; repairs take less

/// The process that a thread belongs to, 0 if there is no such thread.
std::uint32_t process_of(std::uint32_t tid) {
    std::ifstream status("/proc/" + std::to_string(tid) + "/status");
    for (std::string name; status >> name; status.ignore(256, '\n')) {
        std::uint32_t pid = 0;
        if (name == "Tgid:" && status >> pid) return pid;
    }
    return 0;
}

/// Whether the thread may belong to an attached process: if one of those lives in another pid namespace,
/// nobody can tell.
bool is_attached(const Segment &segment, std::uint32_t tid) {
    const std::uint64_t mine = pid_namespace();
    const std::uint32_t pid = process_of(tid);
    for (std::uint32_t i = 0; i < kProcesses; ++i) {
        const ProcessSlot &slot = segment.process(i);
        if (!slot.used.load()) continue;
        if (slot.pid_namespace.load() != mine || slot.pid.load() == pid) return true;
    }
    return false;
}

}  // namespace

std::uint64_t pid_namespace() {
    struct stat info {};
    return stat("/proc/self/ns/pid", &info) == 0 ? info.st_ino : 0;
}

void init_mutex(Mutex &mutex) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    // An enumerator in glibc, not a macro: an #ifdef around it would silently drop it.
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    const int error = pthread_mutex_init(&mutex.native, &attributes);
    pthread_mutexattr_destroy(&attributes);
    if (error) throw std::bad_alloc();
}

int try_mutex(Mutex &mutex) {
#ifdef __GLIBC__
    static const int kind = [] {
        Mutex sample{};
        init_mutex(sample);
        return sample.native.__data.__kind;
    }();
    if (mutex.native.__data.__kind != kind) return EINVAL;
#endif
    return pthread_mutex_trylock(&mutex.native);
}

int wait_mutex(const Segment &segment, Mutex &mutex) {
#ifdef __SANITIZE_THREAD__
    // GCC 12's sanitizer does not know clocklock; nobody is killed under it.
    static_cast<void>(segment);
    return pthread_mutex_lock(&mutex.native);
#endif
    for (std::int64_t doubt = monotonic_ns() + kPatience;;) {
        const std::int64_t now = monotonic_ns();
#ifdef __GLIBC__
        if (now >= doubt) {
            const auto word = static_cast<std::uint32_t>(mutex.native.__data.__lock);
            if (word && !(word & FUTEX_OWNER_DIED) && !is_attached(segment, word & FUTEX_TID_MASK))
                fail_corrupted("a lock belongs to nobody");
            doubt = now + kPatience;
        }
#endif
        const std::int64_t until = now + kSlice;
        const timespec deadline{until / 1'000'000'000, until % 1'000'000'000};
        const int error = pthread_mutex_clocklock(&mutex.native, CLOCK_MONOTONIC, &deadline);
        if (error != ETIMEDOUT) return error;
    }
}

}  // namespace offgil::store::managed
