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

void Feed::hold(std::shared_ptr<Unread> unread) {
    std::lock_guard lock(mutex_);
    if (bytes_.size() == 0) return;
    unread->count.fetch_add(1);
    held_ = std::move(unread);
}

/// Whether the engine waits for it.
bool Feed::let_go() {
    const std::shared_ptr<Unread> unread = std::move(held_);
    if (!unread) return false;
    unread->count.fetch_sub(1);
    return unread->wanted.load();
}

Nanos Feed::wanted_since(Nanos now) {
    std::lock_guard lock(mutex_);
    return wanted_since_ == kNever ? now : wanted_since_;
}

Feed::Taken Feed::take() {
    std::lock_guard lock(mutex_);
    const bool awaited = let_go();
    const bool refill = std::exchange(refill_, false) || awaited;
    if (bytes_.size() > 0) return {std::exchange(bytes_, Body{}), refill};
    if (over_) return {error_ ? decltype(Taken::what)(*error_) : End{}};
    wanted_since_ = monotonic_now();
    return {Nothing{}, refill};
}

bool Feed::close() {
    std::lock_guard lock(mutex_);
    if (bytes_.size() == 0 && over_) return false;
    bytes_ = Body{};
    const bool tell = let_go() || !over_;
    over_ = true;
    if (!error_)
        error_ =
            Error{ErrorKind::stream_closed, request_ + ": the stream was closed before its body was read"};
    return tell;
}

}  // namespace offgil::net
