// Cancelling a request from another thread.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <unordered_set>

#include "net/per_process.h"

namespace offgil::net {

/// Something that sleeps and can be made to look around.
class Wakeable {
  public:
    virtual void wake() = 0;

  protected:
    ~Wakeable() = default;
};

/// A flag that is set once, and wakes whoever looks at it.
///
/// A forked child has the flag as it was, and nobody to wake: the sleepers are threads of its parent.
///
/// Locking: `Sleepers::mutex` guards `Sleepers::all`; wake() is called under it, so that a sleeper cannot go
/// away meanwhile, and must not call back.  `cancelled_` is atomic, so that the loops that look at it take no
/// lock.
class CancelToken {
    struct Sleepers;

  public:
    bool cancelled() const { return cancelled_.load(std::memory_order_acquire); }

    /// From any thread.  Idempotent.
    void cancel();

    /// Wakes `sleeper` at cancel() for as long as this lives; at once, if that has happened already.
    class Link {
      public:
        Link() = default;
        Link(std::shared_ptr<CancelToken> token, Wakeable &sleeper);
        Link(Link &&other) noexcept;
        Link &operator=(Link &&other) noexcept;
        ~Link();

        bool cancelled() const { return token_ && token_->cancelled(); }

      private:
        std::shared_ptr<CancelToken> token_;
        Sleepers *among_ = nullptr;
        Wakeable *sleeper_ = nullptr;
    };

  private:
    struct Sleepers {
        std::mutex mutex;
        std::unordered_multiset<Wakeable *> all;  // a batch is in it once for each of its requests
    };

    std::atomic<bool> cancelled_{false};
    PerProcess<Sleepers> sleepers_;
};

}  // namespace offgil::net
