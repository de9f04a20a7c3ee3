// Pages for memory that is about to be filled, in one system call instead of a fault each.
//
// A write to a page that is not in this process's page table faults: 256 faults to a MiB cost four times what
// the copy itself does.  MADV_POPULATE_WRITE does the same work at a quarter to a half of that, but is not
// free for pages that are there already, so it is called only where some are missing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "store/managed/segment.h"

namespace offgil::store::managed {

/// Values below this are filled without: a few faults cost no more than the call.
inline constexpr std::size_t kPopulate = 256 * 1024;

/// For memory of this process alone, which the C library may have got anew or kept.
void populate_private(std::span<std::byte> memory);

/// Which pages of a segment's data area this process has written to since it was mapped or forked: the kernel
/// does not tell for shared memory.  Lost updates do no harm, so the bits are relaxed atomics.
class Populated {
  public:
    explicit Populated(const Segment &segment);
    /// Makes the pages of `memory`, which lies in the data area, present.
    void populate(const Segment &segment, std::span<std::byte> memory);
    /// A child of fork() shares the memory and begins with an empty page table for it.
    void forget();

  private:
    bool mark(std::uint32_t page);

    std::size_t words_;
    std::unique_ptr<std::atomic<std::uint64_t>[]> bits_;
};

}  // namespace offgil::store::managed
