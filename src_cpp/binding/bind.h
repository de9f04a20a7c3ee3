// What the files of this folder share.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "binding/detached.h"
#include "net/client.h"
#include "net/error.h"
#include "net/multi.h"
#include "net/response.h"

namespace offgil::binding {

namespace nb = nanobind;

void bind_batch(nb::module_ &m);
void bind_body(nb::module_ &m);
void bind_config(nb::module_ &m);
void bind_engine(nb::module_ &m);
void bind_managed_store(nb::module_ &m);
void bind_net(nb::module_ &m);
void bind_response(nb::module_ &m);
void bind_runtime(nb::module_ &m);
void bind_shared_store(nb::module_ &m);
void bind_stream(nb::module_ &m);

/// Carries a core's error to the translator in net_errors.cpp.
struct NetException : std::exception {
    explicit NetException(net::Error e) : error(std::move(e)) {}
    const char *what() const noexcept override { return error.message.c_str(); }
    net::Error error;
};

/// Looks up the exception classes of offgil.errors and installs the translator.
void bind_net_errors(nb::module_ &m);

/// The class that an error of that kind is raised as; what the interrupt hook raised counts as
/// KeyboardInterrupt, and what a body's iterable raised as Exception.
const char *error_name(std::size_t kind);

/// Raises `error`, or what the interrupt hook or the source of the request's body raised.
[[noreturn]] void raise(net::Error error);

/// A new exception object for `error`, not raised.
nb::object make_exception(const net::Error &error);

/// Locking: `token` never changes, and locks by itself.
struct PyCancelToken {
    const std::shared_ptr<net::CancelToken> token = std::make_shared<net::CancelToken>();

    void cancel() {
        const Detached detached;
        token->cancel();
    }
};

/// The core of a _core.Client, and the Python class of its responses.
net::Client &core_of(nb::handle client);
nb::object response_type_of(nb::handle client);

/// A header that cannot end its line early.
net::Header header_of(nb::handle name, nb::handle value);

/// The arguments of _core.Client.request as a checked request that borrows from `body`: bytes, a FileBody, an
/// IterableBody or None.
net::Request request_of(nb::str method, nb::str url, nb::handle headers, nb::handle body, nb::tuple limits,
                        const PyCancelToken *cancel);

/// Sends `request` elsewhere than its URL says: `target` is what its first line asks for, and `connect_to`,
/// "host:port", where its connection leads; None for either.
void aim(net::Request &request, nb::handle target, nb::handle connect_to);

/// One thread's turn on an object that belongs to one thread at a time.  Refuses where waiting would be
/// wrong: two threads that share such an object have a bug.
struct Turn {
    Turn(std::atomic_flag &flag, const char *refusal) : busy(flag) {
        if (busy.test_and_set(std::memory_order_acquire)) throw std::runtime_error(refusal);
    }
    ~Turn() { busy.clear(std::memory_order_release); }
    Turn(const Turn &) = delete;
    std::atomic_flag &busy;
};

/// A new object of `type`, a subclass of _core.Response, that owns `response`.
nb::object make_response(nb::handle type, net::Response response);

/// Learns which thread runs Python's signal handlers, here and in forked children.
void bind_signals(nb::module_ &m);

/// Whether Python handles signals on the calling thread.
bool on_main_thread();

/// How long a wait on the main thread goes on without a look at signals, in nanoseconds.
inline constexpr std::int64_t kSignalSlice = 50'000'000;

/// Called detached: lets Python run its signal handlers; true if one raised, with the exception set for the
/// caller.
bool signal_pending(void *);

/// How a request on the calling thread looks out for Ctrl-C: every 50 ms on the main thread, never elsewhere.
net::Interrupt signal_check();

}  // namespace offgil::binding
