// A libcurl multi handle that one thread drives and any thread may cancel.
#pragma once

#include <curl/curl.h>

#include <atomic>
#include <memory>

#include "net/cancel.h"
#include "net/clock.h"

namespace offgil::net {

/// How a driving loop asks whether to give up.  The core knows no signals; the binding's hook attaches to the
/// interpreter and lets Python run its signal handlers.
struct Interrupt {
    bool (*requested)(void *context) = nullptr;
    void *context = nullptr;
    Nanos every = kNever;  ///< how long to go on without asking

    bool operator()() const { return requested && requested(context); }
};

/// Locking: `handle()` belongs to the driving thread, except for curl_multi_wakeup, the one call that libcurl
/// allows from others; the flags are atomic.
class Multi final : public Wakeable {
  public:
    Multi();

    CURLM *handle() const { return handle_.get(); }

    /// From any thread: makes the driver give up at its next turn, at once if it sleeps.
    void close();
    bool closed() const { return closed_.load(std::memory_order_acquire); }

    /// From any thread: makes the driver look at its cancel tokens.
    void wake() override;

    /// From any thread: ends a sleep of the driver, or its next one.
    void nudge() { curl_multi_wakeup(handle()); }

    /// Whether wake() was called since this last said so.
    bool take_wake() {
        return woken_.load(std::memory_order_relaxed) && woken_.exchange(false, std::memory_order_acq_rel);
    }

    /// Sleeps until a socket is ready, a libcurl timer is due, someone wakes the handle, a signal arrives or
    /// `deadline` comes.  Returns false if nothing was ready, which is the moment to look at signals.
    bool poll(Nanos now, Nanos deadline);

  private:
    struct Cleanup {
        void operator()(CURLM *handle) const { curl_multi_cleanup(handle); }
    };
    std::unique_ptr<CURLM, Cleanup> handle_;
    std::atomic<bool> closed_{false};
    std::atomic<bool> woken_{false};
};

/// An easy handle for as long as it is in a multi handle.  Removing one before its end closes an HTTP/1.1
/// connection, without waiting for the peer.
struct RemoveFromMulti {
    CURLM *multi = nullptr;
    void operator()(CURL *easy) const { curl_multi_remove_handle(multi, easy); }
};
using Added = std::unique_ptr<CURL, RemoveFromMulti>;
Added add(Multi &multi, CURL *easy);

}  // namespace offgil::net
