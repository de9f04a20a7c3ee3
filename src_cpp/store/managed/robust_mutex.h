// A mutex between processes that survives the death of its holder.
//
// Robust mutexes are owned by threads, and a child of fork() owns none of its parent's.  The kernel hands a dead
// owner's mutex to the next locker with EOWNERDEAD; whoever gets that repairs what the mutex guards and only then
// declares it consistent.  A repairer that is killed leaves the next one with EOWNERDEAD again, so repairs must be
// restartable.
#pragma once

#include <pthread.h>

#include <cerrno>
#include <new>

#include "store/managed/error.h"
#include "store/managed/layout.h"

namespace offgil::store::managed {

/// Whether an operation may sleep for a lock.  An attached Python thread must not: it tries, and detaches to wait.
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

/// Holds a Mutex; `held()` is false if Mode::Try found it taken.
class LockMutex {
 public:
    template <typename Repair>
    LockMutex(Mutex &mutex, Mode mode, Repair &&repair) : mutex_(mutex) {
        const int error =
            mode == Mode::Try ? pthread_mutex_trylock(&mutex.native) : pthread_mutex_lock(&mutex.native);
        if (error == EBUSY) return;
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
