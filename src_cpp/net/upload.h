// A request's body that is not one block of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "net/error.h"

namespace offgil::net {

/// What libcurl's read callback takes a body from.
///
/// Locking: none; an upload belongs to the thread that drives its transfer.
class Upload {
  public:
    virtual ~Upload() = default;
    Upload(const Upload &) = delete;
    Upload &operator=(const Upload &) = delete;

    /// How many bytes there are in all; unknown for what only its end can tell.
    const std::optional<std::uint64_t> size;

    /// Copies up to `room` bytes.  0 at the end; CURL_READFUNC_PAUSE if there are none yet, which makes it
    /// starved(); CURL_READFUNC_ABORT for good, and failure() says why.
    virtual std::size_t read(char *buffer, std::size_t room) = 0;

    /// Whether rewind() can succeed after read().
    virtual bool replayable() const = 0;

    /// Makes read() begin with the first byte; false if that is gone.
    virtual bool rewind() = 0;

    /// Whether the transfer stands still until somebody brings bytes.
    virtual bool starved() const { return false; }

    /// Of a starved upload: waits for bytes; false if there is a reason to end the transfer that the caller
    /// knows.
    virtual bool refill() { return true; }

    std::uint64_t taken() const { return taken_; }  ///< bytes that read() returned
    bool ended() const { return ended_; }           ///< and there are no more
    const std::optional<Error> &failure() const { return failure_; }

  protected:
    explicit Upload(std::optional<std::uint64_t> bytes) : size(bytes) {}
    std::size_t abort(ErrorKind kind, std::string what);
    std::size_t abort_short();

    std::uint64_t taken_ = 0;
    bool ended_ = false;
    std::optional<Error> failure_;
};

/// A regular file, from an offset to the size that it had.  pread(2) leaves the descriptor's position alone,
/// so that it can be read again, and by several requests at once.
class FileUpload final : public Upload {
  public:
    /// Takes over `descriptor`.  `path` is what errors call the file.
    FileUpload(int descriptor, std::uint64_t offset, std::uint64_t bytes, std::string path);
    ~FileUpload() override;

    std::size_t read(char *buffer, std::size_t room) override;
    bool replayable() const override { return true; }
    bool rewind() override;

  private:
    const int descriptor_;
    const std::uint64_t offset_;
    const std::string path_;
};

/// Bytes that somebody brings while the transfer waits for them.
class FedUpload final : public Upload {
  public:
    /// Where a blocking call gets more: called by the driving loop, it calls give() or finish(), or returns
    /// false to end the transfer.  Who drives many transfers has none, looks for starved() ones and resumes
    /// them after give().
    struct Source {
        bool (*more)(void *context, FedUpload &upload) = nullptr;
        void *context = nullptr;
    };

    /// `bytes` is what the caller promised, which is checked.
    FedUpload(std::optional<std::uint64_t> bytes, Source source) : Upload(bytes), source_(source) {}

    /// Brings the next piece, which is borrowed until the upload is starved again or the transfer is over.
    void give(std::string_view piece);
    void finish() {
        finished_ = true;
        starved_ = false;
    }

    /// Whether the promised bytes were given: what would come now is too much.
    bool complete() const { return size && given_ >= *size; }

    std::size_t read(char *buffer, std::size_t room) override;
    bool replayable() const override { return false; }
    bool rewind() override { return taken_ == 0; }
    bool starved() const override { return starved_; }
    bool refill() override { return source_.more(source_.context, *this); }

  private:
    const Source source_;
    std::string_view piece_;
    std::uint64_t given_ = 0;
    bool finished_ = false;
    bool starved_ = false;
};

}  // namespace offgil::net
