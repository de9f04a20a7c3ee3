#include "net/upload.h"

#include <curl/curl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

namespace offgil::net {

static_assert(sizeof(off_t) == 8, "files beyond 2 GiB");

std::size_t Upload::abort(ErrorKind kind, std::string what) {
    failure_ = {kind, std::move(what)};
    return CURL_READFUNC_ABORT;
}

std::size_t Upload::abort_short() {
    return abort(ErrorKind::local_protocol, "the request's body ended after " + std::to_string(taken_) +
                                                " of its " + std::to_string(*size) + " bytes");
}

FileUpload::FileUpload(int descriptor, std::uint64_t offset, std::uint64_t bytes, std::string path)
    : Upload(bytes), descriptor_(descriptor), offset_(offset), path_(std::move(path)) {}

FileUpload::~FileUpload() {
    ::close(descriptor_);
}

bool FileUpload::rewind() {
    taken_ = 0;
    ended_ = false;
    return true;
}

std::size_t FileUpload::read(char *buffer, std::size_t room) {
    // What was appended meanwhile is not part of the announced body.
    const std::size_t wanted = static_cast<std::size_t>(std::min<std::uint64_t>(room, *size - taken_));
    ended_ = wanted == 0;
    if (ended_) return 0;
    ssize_t got = 0;
    do got = ::pread(descriptor_, buffer, wanted, static_cast<off_t>(offset_ + taken_));
    while (got < 0 && errno == EINTR);
    if (got < 0) {
        const int reason = errno;
        const std::size_t aborted = abort(
            ErrorKind::file, "reading the request's body failed: " + std::generic_category().message(reason));
        failure_->os_error = reason;
        failure_->path = path_;
        return aborted;
    }
    if (got == 0) return abort_short();
    taken_ += static_cast<std::uint64_t>(got);
    return static_cast<std::size_t>(got);
}

void FedUpload::give(std::string_view piece) {
    piece_ = piece;
    given_ += piece.size();
    starved_ = piece.empty();
}

std::size_t FedUpload::read(char *buffer, std::size_t room) {
    if (size && given_ > *size)
        return abort(ErrorKind::local_protocol,
                     "the request's body is longer than its Content-Length, " + std::to_string(*size));
    if (!piece_.empty()) {
        const std::size_t count = piece_.copy(buffer, room);
        piece_.remove_prefix(count);
        taken_ += count;
        return count;
    }
    if (finished_) {
        ended_ = true;
        return size && taken_ < *size ? abort_short() : 0;
    }
    starved_ = true;
    return CURL_READFUNC_PAUSE;
}

}  // namespace offgil::net
