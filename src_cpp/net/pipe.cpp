#include "net/pipe.h"

#include <utility>

namespace offgil::net {

void Pipe::give(std::string_view piece, std::shared_ptr<const void> owner) {
    std::lock_guard lock(mutex_);
    asked_ = false;
    piece_ = piece;
    owner_ = std::move(owner);
}

void Pipe::finish() {
    std::lock_guard lock(mutex_);
    asked_ = false;
    finished_ = true;
}

bool Pipe::asked() {
    std::lock_guard lock(mutex_);
    return asked_;
}

bool Pipe::pour(void *self, FedUpload &upload) {
    Pipe &pipe = *static_cast<Pipe *>(self);
    std::lock_guard lock(pipe.mutex_);
    if (const auto piece = std::exchange(pipe.piece_, std::nullopt)) {
        pipe.in_use_ = std::move(pipe.owner_);
        upload.give(*piece);
    } else if (pipe.finished_) {
        upload.finish();
    }
    return !upload.starved();
}

bool Pipe::ask() {
    std::lock_guard lock(mutex_);
    if (piece_ || finished_) return false;
    return !std::exchange(asked_, true);
}

}  // namespace offgil::net
