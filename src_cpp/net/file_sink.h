// Where the body of a download goes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "net/body.h"

namespace offgil::net {

/// Writes a body to a file from its start.
///
/// Locking: none; a sink belongs to the thread that drives its transfer.
class FileSink {
  public:
    /// Borrows `descriptor`, of a regular file.
    explicit FileSink(int descriptor) : descriptor_(descriptor) {}

    /// Each returns false once writing has failed; then error() is the errno.
    [[nodiscard]] bool append(const char *data, std::size_t size);
    /// Writes what is left, and cuts off what an earlier attempt left behind.
    [[nodiscard]] bool finish();

    int error() const { return error_; }

  private:
    bool flush();
    bool write(const char *data, std::size_t size);

    const int descriptor_;
    Body buffer_;  ///< small pieces that are not written yet
    std::uint64_t written_ = 0;
    int error_ = 0;
};

}  // namespace offgil::net
