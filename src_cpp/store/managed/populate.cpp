#include "store/managed/populate.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>

namespace offgil::store::managed {

namespace {

/// The whole pages of the system within a range.
struct SystemPages {
    SystemPages(std::byte *begin, std::byte *end) {
        static const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
        const auto first = (reinterpret_cast<std::uintptr_t>(begin) + page - 1) & ~(page - 1);
        const auto last = reinterpret_cast<std::uintptr_t>(end) & ~(page - 1);
        start = reinterpret_cast<void *>(first);
        bytes = last > first ? last - first : 0;
        count = bytes / page;
        size = page;
    }
    void *start;
    std::size_t bytes, count, size;
};

/// Only advice: where the kernel is too old for it, or memory is short, the writes themselves will tell.
void populate(const SystemPages &pages) {
#ifdef MADV_POPULATE_WRITE
    if (pages.bytes) madvise(pages.start, pages.bytes, MADV_POPULATE_WRITE);
#else
    static_cast<void>(pages);
#endif
}

}  // namespace

void populate_private(std::span<std::byte> memory) {
    if (memory.size() < kPopulate) return;
    // The allocator keeps or returns such memory as a whole, so a sample of it tells.
    const SystemPages pages(memory.data(), memory.data() + memory.size());
    std::array<unsigned char, 8> present{};
    const std::size_t looked = std::min(pages.count, present.size());
    auto *const middle = static_cast<std::byte *>(pages.start) + (pages.count - looked) / 2 * pages.size;
    if (mincore(middle, looked * pages.size, present.data()) != 0) return;
    if (std::any_of(present.begin(), present.begin() + looked, [](unsigned char p) { return !(p & 1); }))
        populate(pages);
}

Populated::Populated(const Segment &segment)
    : words_((segment.layout().pages + 63) / 64), bits_(new std::atomic<std::uint64_t>[words_]()) {}

bool Populated::mark(std::uint32_t page) {
    std::atomic<std::uint64_t> &word = bits_[page / 64];
    const std::uint64_t bit = std::uint64_t{1} << (page % 64);
    if (word.load(std::memory_order_relaxed) & bit) return false;
    word.fetch_or(bit, std::memory_order_relaxed);
    return true;
}

void Populated::populate(const Segment &segment, std::span<std::byte> memory) {
    if (memory.size() < kPopulate) return;
    std::byte *const area = segment.data(segment.units_of_page(0), 0), *const end =
                                                                           memory.data() + memory.size();
    const auto first = static_cast<std::uint32_t>(static_cast<std::uint64_t>(memory.data() - area) / kPage);
    const auto last = static_cast<std::uint32_t>(static_cast<std::uint64_t>(end - 1 - area) / kPage);
    std::uint32_t missing = 0;
    for (std::uint32_t page = first; page <= last + 1; ++page) {
        if (page <= last && mark(page)) {
            ++missing;
            continue;
        }
        if (missing)
            managed::populate(
                SystemPages(area + kPage * (page - missing), std::min(area + kPage * page, end)));
        missing = 0;
    }
}

void Populated::forget() {
    for (std::size_t i = 0; i < words_; ++i) bits_[i].store(0, std::memory_order_relaxed);
}

}  // namespace offgil::store::managed
