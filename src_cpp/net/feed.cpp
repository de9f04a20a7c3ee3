#include "net/feed.h"

#include <cstddef>
#include <new>
#include <utility>

namespace offgil::net {

namespace {

/// As much again may be with the transfer (see Transfer::Delivery).
constexpr std::size_t kEnough = 128 * 1024;

}  // namespace

bool Feed::full() {
    std::lock_guard lock(mutex_);
    refill_ = bytes_.size() >= kEnough;
    return refill_;
}

bool Feed::tell() {
    return std::exchange(wanted_since_, kNever) != kNever;
}

bool Feed::add(Body bytes) {
    if (bytes.size() == 0) return false;
    std::lock_guard lock(mutex_);
    if (over_) return false;  // closed by the reader
    if (bytes_.size() == 0)
        bytes_ = std::move(bytes);
    else if (!bytes_.append(bytes.data(), bytes.size()))
        throw std::bad_alloc();
    return tell();
}

bool Feed::finish(std::optional<Error> error) {
    std::lock_guard lock(mutex_);
    if (over_) return false;
    over_ = true;
    error_ = std::move(error);
    return tell();
}

Nanos Feed::wanted_since(Nanos now) {
    std::lock_guard lock(mutex_);
    return wanted_since_ == kNever ? now : wanted_since_;
}

Feed::Taken Feed::take() {
    std::lock_guard lock(mutex_);
    const bool refill = std::exchange(refill_, false);
    if (bytes_.size() > 0) return {std::exchange(bytes_, Body{}), refill};
    if (over_) return {error_ ? decltype(Taken::what)(*error_) : End{}};
    wanted_since_ = monotonic_now();
    return {Nothing{}, refill};
}

void Feed::close() {
    std::lock_guard lock(mutex_);
    if (bytes_.size() == 0 && over_) return;
    bytes_ = Body{};
    over_ = true;
    if (!error_)
        error_ =
            Error{ErrorKind::stream_closed, request_ + ": the stream was closed before its body was read"};
}

}  // namespace offgil::net
