// A mutex between processes that survives the death of its holder.
//
// Robust mutexes are owned by threads, and a child of fork() owns none of its parent's.  The kernel hands a
// dead owner's mutex to the next locker with EOWNERDEAD; whoever gets that repairs what the mutex guards and
// only then declares it consistent.  A repairer that is killed leaves the next one with EOWNERDEAD again, so
// repairs must be restartable.
//
// === A hole that we close here ===
//
// Robust mutexes lose wake-ups with three contenders.  An unlock wakes one sleeper and clears the "there are
// waiters" mark, which the woken one sets again when it gets the lock.  If that one is killed on the way
// while a third thread has barged in, the mark stays clear: no unlock ever wakes the other sleepers (the
// kernel makes up for it only if the lock is free at that moment).  Hit within 100 random kills, so nobody
// sleeps longer than a slice: after it the sleeper tries again, which sets the mark.
#pragma once

#include <pthread.h>

#include <cerrno>
#include <new>

#include "store/managed/error.h"
#include "store/managed/futex.h"
#include "store/managed/layout.h"

namespace offgil::store::managed {

/// Whether an operation may sleep for a lock.  An attached Python thread must not: it tries,
/// and detaches to wait.
enum class Mode { Wait, Try };

inline void init_mutex(Mutex &mutex) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    // An enumerator in glibc, not a macro: an #ifdef around it would silently drop it.
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    const int error = pthread_mutex_init(&mutex.native, &attributes);
    pthread_mutexattr_destroy(&attributes);
    if (error) throw std::bad_alloc();
}

inline int lock_in_slices(pthread_mutex_t &mutex) {
#ifdef __SANITIZE_THREAD__
    // GCC 12's sanitizer does not know clocklock; nobody is killed under it.
    return pthread_mutex_lock(&mutex);
#endif
    constexpr std::int64_t slice_ns = 20'000'000;
    for (;;) {
        const std::int64_t until = monotonic_ns() + slice_ns;
        const timespec deadline{until / 1'000'000'000, until % 1'000'000'000};
        const int error = pthread_mutex_clocklock(&mutex, CLOCK_MONOTONIC, &deadline);
        if (error != ETIMEDOUT) return error;
    }
}

/// Holds a Mutex; `held()` is false if Mode::Try found it taken.
class LockMutex {
  public:
    template <typename Repair>
    LockMutex(Mutex &mutex, Mode mode, Repair &&repair) : mutex_(mutex) {
        int error = pthread_mutex_trylock(&mutex.native);
        if (error == EBUSY) {
            if (mode == Mode::Try) return;
            error = lock_in_slices(mutex.native);
        }
        if (error == EOWNERDEAD) {
            try {
                repair();
            } catch (...) {
                // Unlocked without being consistent: every later lock fails, nobody works on damaged state.
                pthread_mutex_unlock(&mutex.native);
                throw;
            }
            pthread_mutex_consistent(&mutex.native);
        } else if (error) {
            fail_corrupted("a lock cannot be taken");
        }
        held_ = true;
    }
    ~LockMutex() {
        if (held_) pthread_mutex_unlock(&mutex_.native);
    }
    LockMutex(const LockMutex &) = delete;
    LockMutex &operator=(const LockMutex &) = delete;

    bool held() const { return held_; }

  private:
    Mutex &mutex_;
    bool held_ = false;
};

}  // namespace offgil::store::managed
