// Request bodies that are not bytes, as Python makes them.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "net/upload.h"

namespace offgil::binding {

namespace nb = nanobind;

/// A descriptor of our own, so that the caller may close the file; raises OSError.
int duplicate(int descriptor);

/// A file of the caller's, which the core reads without Python.
///
/// Locking: never changes, but for `upload`, which belongs to the one request that has the body at a time.
struct PyFileBody {
    PyFileBody(int descriptor, std::uint64_t offset, std::uint64_t size, std::string path);

    const std::shared_ptr<net::FileUpload> upload;
};

/// An iterable of the caller's, which is advanced while its request waits for more to send.
///
/// Locking: none; all members are touched attached, by the thread that runs the request.
class PyIterableBody {
  public:
    PyIterableBody(nb::object iterable, std::optional<std::uint64_t> size);

    /// Whether start() can be called more than once.
    bool replayable() const { return replayable_; }

    /// Begins with the first item.  Valid for as long as this object.
    std::shared_ptr<net::Upload> start();

  private:
    static bool more(void *self, net::FedUpload &upload);
    bool feed(net::FedUpload &upload);
    nb::object next();

    nb::object iterable_;
    nb::object iterator_;
    nb::object piece_;  ///< what the upload borrows from
    const std::optional<std::uint64_t> size_;
    const bool replayable_;
    bool started_ = false;
};

/// For requests that are driven together with others, by a thread that must not wait for Python.
void refuse_iterable(nb::handle body);

}  // namespace offgil::binding
