// The block of memory that an answer's body is in.
#pragma once

#include <cstddef>
#include <utility>

namespace offgil::net {

/// A growable block of bytes from malloc.  Not std::vector: growing must not zero memory that the network is
/// about to fill, and realloc can move large blocks by remapping pages.
class Body {
  public:
    Body() = default;
    Body(Body &&other) noexcept { swap(other); }
    Body &operator=(Body &&other) noexcept {
        swap(other);
        return *this;
    }
    ~Body();

    /// Makes room for `size` bytes in all; false if memory ran out.
    [[nodiscard]] bool reserve(std::size_t size);
    [[nodiscard]] bool append(const char *data, std::size_t size);

    /// Forgets the bytes, keeps the room.
    void clear() { size_ = 0; }

    const char *data() const { return data_; }
    std::size_t size() const { return size_; }

  private:
    void swap(Body &other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
    }

    char *data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

}  // namespace offgil::net
