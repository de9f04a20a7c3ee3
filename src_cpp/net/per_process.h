// State that a forked child must not share with its parent.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "net/sockets.h"

namespace offgil::net {

/// A T for each process.  A forked child makes one at its first use and leaks its parent's on purpose: that
/// one's locks may be held by threads that do not exist in the child.
///
/// Locking: `current_` is atomic, and only ever replaced by a forked child's first use.
template <typename T>
class PerProcess {
  public:
    template <typename... Arguments>
    explicit PerProcess(const Arguments &...arguments) : current_(new Made(arguments...)) {}
    ~PerProcess() {
        Made *const last = current_.load(std::memory_order_acquire);
        if (last->inherited()) return;
        delete last;
    }
    PerProcess(const PerProcess &) = delete;
    PerProcess &operator=(const PerProcess &) = delete;

    /// This process' own, made from `arguments` if it has none yet.
    template <typename... Arguments>
    T &get(const Arguments &...arguments) {
        Made *known = current_.load(std::memory_order_acquire);
        if (!known->inherited()) [[likely]]
            return known->value;
        auto fresh = std::make_unique<Made>(arguments...);
        // Two first users in the child: one wins.
        if (current_.compare_exchange_strong(known, fresh.get(), std::memory_order_acq_rel))
            return fresh.release()->value;
        return known->value;
    }

    /// Whether `one`, which get() returned at some time, is this process' own.
    bool owns(const T &one) const {
        const Made *const known = current_.load(std::memory_order_acquire);
        return !known->inherited() && &known->value == &one;
    }

  private:
    struct Made {
        template <typename... Arguments>
        explicit Made(const Arguments &...arguments) : value(arguments...) {}
        bool inherited() const { return generation != fork_generation(); }

        const std::uint32_t generation = fork_generation();
        T value;
    };

    std::atomic<Made *> current_;
};

}  // namespace offgil::net
