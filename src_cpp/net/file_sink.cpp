#include "net/file_sink.h"

#include <unistd.h>

#include <cerrno>

namespace offgil::net {

namespace {

constexpr std::size_t kPiece = 256 * 1024;

}  // namespace

bool FileSink::append(const char *data, std::size_t size) {
    if (!buffer_.reserve(kPiece) || !buffer_.append(data, size)) {
        error_ = ENOMEM;
        return false;
    }
    // Not beyond kPiece, where the buffer would grow: the next piece of libcurl's would not fit.
    return buffer_.size() + size <= kPiece || flush();
}

bool FileSink::finish() {
    if (!flush()) return false;
    if (::ftruncate(descriptor_, static_cast<off_t>(written_)) == 0) return true;
    error_ = errno;
    return false;
}

bool FileSink::flush() {
    const char *data = buffer_.data();
    for (std::size_t left = buffer_.size(); left > 0;) {
        const ssize_t count = ::pwrite(descriptor_, data, left, static_cast<off_t>(written_));
        if (count < 0) {
            if (errno == EINTR) continue;
            error_ = errno;
            return false;
        }
        data += count;
        left -= static_cast<std::size_t>(count);
        written_ += static_cast<std::uint64_t>(count);
    }
    buffer_.clear();
    return true;
}

}  // namespace offgil::net
