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
//
// === Damage ===
//
// What an exception leaves half changed is treated like what a dead owner left: the next locker repairs it,
// and if it cannot, nobody works on damaged state.  A mutex is itself memory that may be damaged: one that
// is not of the kind that init_mutex() made would make the C library abort, and one that names an owner that
// is nobody would be waited for for ever.
#pragma once

#include <pthread.h>

#include <cerrno>
#include <exception>
#include <new>

#include "store/managed/error.h"
#include "store/managed/fault.h"
#include "store/managed/futex.h"
#include "store/managed/layout.h"
#include "store/managed/segment.h"

namespace offgil::store::managed {

/// Whether an operation may sleep for a lock.  An attached Python thread must not: it tries,
/// and detaches to wait.
enum class Mode { Wait, Try };

void init_mutex(Mutex &mutex);

/// Tells the namespaces of pids apart; 0 if the system does not say.
std::uint64_t pid_namespace();

/// pthread_mutex_trylock; EINVAL if the mutex is none of ours.
int try_mutex(Mutex &mutex);
/// Sleeps for the mutex; returns what pthread_mutex_lock would.  Throws Error(Corrupted) if its owner is no
/// thread of an attached process.
int wait_mutex(const Segment &segment, Mutex &mutex);

/// Holds a Mutex; `held()` is false if Mode::Try found it taken.
class LockMutex {
  public:
    template <typename Repair>
    LockMutex(const Segment &segment, Mutex &mutex, Mode mode, Repair &&repair)
        : mutex_(mutex), exceptions_(std::uncaught_exceptions()) {
        int error = try_mutex(mutex);
        if (error == EBUSY) {
            if (mode == Mode::Try) return;
            error = wait_mutex(segment, mutex);
        }
        if (error && error != EOWNERDEAD) fail_corrupted("a lock cannot be taken");
        if (error || mutex.damaged.load(std::memory_order_relaxed)) {
            // Before the owner's death is forgotten: whoever dies in here leaves the mark.
            mutex.damaged.store(1, std::memory_order_relaxed);
            OFFGIL_FAULT();
            if (error) pthread_mutex_consistent(&mutex.native);
            try {
                repair();
            } catch (...) {
                pthread_mutex_unlock(&mutex.native);
                throw;
            }
            OFFGIL_FAULT();
            mutex.damaged.store(0, std::memory_order_relaxed);
        }
        held_ = true;
    }
    ~LockMutex() {
        if (!held_) return;
        if (std::uncaught_exceptions() > exceptions_) mutex_.damaged.store(1, std::memory_order_relaxed);
        pthread_mutex_unlock(&mutex_.native);
    }
    LockMutex(const LockMutex &) = delete;
    LockMutex &operator=(const LockMutex &) = delete;

    bool held() const { return held_; }

  private:
    Mutex &mutex_;
    int exceptions_;
    bool held_ = false;
};

}  // namespace offgil::store::managed
