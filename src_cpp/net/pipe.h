// A request's body on its way from a feeder to the engine's thread.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string_view>

#include "net/upload.h"

namespace offgil::net {

/// Holds one piece at most: the feeder is told when the transfer wants the next one.
///
/// Locking: `mutex_` guards what stands below it; it is held for moving a piece.
class Pipe {
  public:
    // The feeder's side.

    /// Brings a piece, which `owner` keeps alive.  Only when asked for.
    void give(std::string_view piece, std::shared_ptr<const void> owner);
    void finish();

    /// Whether the transfer waits for the next piece.
    bool asked();

    // The engine's side.

    /// For FedUpload::Source: moves what there is into `upload`; false if nothing is.
    static bool pour(void *self, FedUpload &upload);

    /// Asks the feeder; whether it must be told.
    bool ask();

  private:
    std::shared_ptr<const void> in_use_;  ///< owns what the upload borrows; the engine's
    std::mutex mutex_;
    std::optional<std::string_view> piece_;
    std::shared_ptr<const void> owner_;
    bool finished_ = false;
    bool asked_ = false;
};

}  // namespace offgil::net
