#include "net/file_sink.h"

#include <unistd.h>

#include <cerrno>

namespace offgil::net {

namespace {

// libcurl delivers 16 KiB at most, which costs no more to write at once than after a copy to a larger piece.
// (From 256 KiB on, writes were seen to cost several times as much on ext4.)  Small chunks are collected.
constexpr std::size_t kWorthACall = 8 * 1024;
constexpr std::size_t kCollected = 64 * 1024;

}  // namespace

bool FileSink::append(const char *data, std::size_t size) {
    if (size >= kWorthACall) return flush() && write(data, size);
    if (!buffer_.append(data, size)) {
        error_ = ENOMEM;
        return false;
    }
    return buffer_.size() < kCollected || flush();
}

bool FileSink::finish() {
    if (!flush()) return false;
    if (::ftruncate(descriptor_, static_cast<off_t>(written_)) == 0) return true;
    error_ = errno;
    return false;
}

bool FileSink::flush() {
    if (!write(buffer_.data(), buffer_.size())) return false;
    buffer_.clear();
    return true;
}

bool FileSink::write(const char *data, std::size_t size) {
    while (size > 0) {
        const ssize_t count = ::pwrite(descriptor_, data, size, static_cast<off_t>(written_));
        if (count < 0) {
            if (errno == EINTR) continue;
            error_ = errno;
            return false;
        }
        data += count;
        size -= static_cast<std::size_t>(count);
        written_ += static_cast<std::uint64_t>(count);
    }
    return true;
}

}  // namespace offgil::net
