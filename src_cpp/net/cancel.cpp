#include "net/cancel.h"

#include <utility>

namespace offgil::net {

void CancelToken::cancel() {
    std::lock_guard lock(mutex_);
    cancelled_.store(true, std::memory_order_release);
    for (Wakeable *sleeper : sleepers_) sleeper->wake();
}

CancelToken::Link::Link(std::shared_ptr<CancelToken> token, Wakeable &sleeper)
    : token_(std::move(token)), sleeper_(&sleeper) {
    if (!token_) return;
    std::lock_guard lock(token_->mutex_);
    token_->sleepers_.insert(sleeper_);
    if (token_->cancelled()) sleeper_->wake();
}

CancelToken::Link::Link(Link &&other) noexcept
    : token_(std::move(other.token_)), sleeper_(std::exchange(other.sleeper_, nullptr)) {}

CancelToken::Link &CancelToken::Link::operator=(Link &&other) noexcept {
    std::swap(token_, other.token_);
    std::swap(sleeper_, other.sleeper_);
    return *this;
}

CancelToken::Link::~Link() {
    if (!token_) return;
    std::lock_guard lock(token_->mutex_);
    token_->sleepers_.erase(token_->sleepers_.find(sleeper_));
}

}  // namespace offgil::net
