// The block of memory that an answer's body is in.
//
// === Spare blocks ===
//
// malloc hands large blocks back to the kernel, and a page that comes from there costs ten times as much as
// one that was used a moment ago: for a body of 1 MiB, more than receiving it.  So a few large blocks, 16 MiB
// at most, are kept for the next bodies, whatever thread or client they were of.
//
// Locking: each place in `spares` is one atomic pointer, taken and given by exchange; whoever has the pointer
// has the block.  A fork in between loses a block, not a lock.
#include "net/body.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>

namespace offgil::net {

namespace {

constexpr std::size_t kSmallestSpare = 128 * 1024;  // from here on malloc may map each block by itself
constexpr std::size_t kLargestSpare = 4 * 1024 * 1024;

/// What a spare block begins with.
struct Spare {
    std::size_t capacity;
};
static_assert(sizeof(Spare) <= kSmallestSpare);

std::array<std::atomic<Spare *>, 4> spares;

/// Gives a block from malloc back, or keeps it.
void release(char *block, std::size_t capacity) {
    if (capacity >= kSmallestSpare && capacity <= kLargestSpare) {
        auto *spare = new (block) Spare{capacity};
        for (auto &place : spares) {
            Spare *none = nullptr;
            if (place.compare_exchange_strong(none, spare, std::memory_order_acq_rel)) return;
        }
    }
    std::free(block);
}

/// A block of at least `size` bytes and not many more, or null.
Spare *take(std::size_t size) {
    if (size < kSmallestSpare || size > kLargestSpare) return nullptr;
    for (auto &place : spares) {
        Spare *spare = place.exchange(nullptr, std::memory_order_acq_rel);
        if (!spare) continue;
        if (spare->capacity >= size && spare->capacity / 4 <= size) return spare;
        release(reinterpret_cast<char *>(spare), spare->capacity);
    }
    return nullptr;
}

}  // namespace

Body::~Body() {
    if (data_) release(data_, capacity_);
}

bool Body::reserve(std::size_t size) {
    if (size <= capacity_) return true;
    if (Spare *spare = take(size)) {
        const std::size_t capacity = spare->capacity;
        auto *block = reinterpret_cast<char *>(spare);
        if (data_) {
            std::memcpy(block, data_, size_);
            release(data_, capacity_);
        }
        data_ = block;
        capacity_ = capacity;
        return true;
    }
    void *block = std::realloc(data_, size);
    if (!block) return false;
    data_ = static_cast<char *>(block);
    capacity_ = size;
    return true;
}

bool Body::append(const char *data, std::size_t size) {
    if (size == 0) return true;
    if (size > capacity_ - size_) {
        std::size_t wanted = std::max(size_ + size, capacity_ + capacity_ / 2);
        if (!reserve(wanted)) return false;
    }
    std::memcpy(data_ + size_, data, size);
    size_ += size;
    return true;
}

}  // namespace offgil::net
