#include "net/cancel.h"

#include <utility>

namespace offgil::net {

void CancelToken::cancel() {
    Sleepers &mine = sleepers_.get();
    std::lock_guard lock(mine.mutex);
    cancelled_.store(true, std::memory_order_release);
    for (Wakeable *sleeper : mine.all) sleeper->wake();
}

CancelToken::Link::Link(std::shared_ptr<CancelToken> token, Wakeable &sleeper)
    : token_(std::move(token)), sleeper_(&sleeper) {
    if (!token_) return;
    among_ = &token_->sleepers_.get();
    std::lock_guard lock(among_->mutex);
    among_->all.insert(sleeper_);
    if (token_->cancelled()) sleeper_->wake();
}

CancelToken::Link::Link(Link &&other) noexcept
    : token_(std::move(other.token_)),
      among_(other.among_),
      sleeper_(std::exchange(other.sleeper_, nullptr)) {}

CancelToken::Link &CancelToken::Link::operator=(Link &&other) noexcept {
    std::swap(token_, other.token_);
    std::swap(among_, other.among_);
    std::swap(sleeper_, other.sleeper_);
    return *this;
}

CancelToken::Link::~Link() {
    if (!token_ || !token_->sleepers_.owns(*among_)) return;
    std::lock_guard lock(among_->mutex);
    among_->all.erase(among_->all.find(sleeper_));
}

}  // namespace offgil::net
