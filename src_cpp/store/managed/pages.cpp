#include "store/managed/pages.h"

#include <algorithm>
#include <bit>

namespace offgil::store::managed {

namespace {

constexpr std::uint32_t kNotFound = 0xffffffff;

}  // namespace

Room PageRuns::allocate(PageEntry entry, Mode mode, std::uint32_t &first) const {
    Header &header = segment_.header();
    LockMutex lock(segment_, header.page_lock, mode, [this] { rebuild(); });
    if (!lock.held()) return Room::Busy;
    first = find(entry.pages);
    if (first == kNotFound) return Room::Full;
    // Pages are used from the front, so one mark tells which of them have memory.
    const std::uint32_t end = first + entry.pages;
    if (end > header.backed_pages) {
        const std::uint32_t fresh = std::max(first, header.backed_pages);
        if (!segment_.back_pages(fresh, end - fresh)) return Room::Full;
        header.backed_pages = end;
    }
    mark(first, entry.pages, true);
    OFFGIL_FAULT();
    segment_.page_map(first).store(entry.pack(), std::memory_order_release);
    OFFGIL_FAULT();
    if (first == header.page_hint) header.page_hint = end;
    return Room::Done;
}

void PageRuns::release(std::uint32_t first) const {
    // Waits also for an attached caller: the holder only flips bits, or, for a named store, has the system
    // clear fresh pages.
    LockMutex lock(segment_, segment_.header().page_lock, Mode::Wait, [this] { rebuild(); });
    const PageEntry entry = PageEntry::unpack(segment_.page_map(first).load(std::memory_order_relaxed));
    if (entry.kind == PageKind::None || entry.pages == 0) fail_corrupted("free pages are freed again");
    OFFGIL_FAULT();
    segment_.page_map(first).store(0, std::memory_order_release);
    OFFGIL_FAULT();
    mark(first, entry.pages, false);
    std::uint32_t &hint = segment_.header().page_hint;
    hint = std::min(hint, first);
}

std::uint32_t PageRuns::used() const {
    LockMutex lock(segment_, segment_.header().page_lock, Mode::Wait, [this] { rebuild(); });
    int used = 0;
    for (std::uint32_t i = 0; i < (segment_.layout().pages + 63) / 64; ++i)
        used += std::popcount(segment_.page_bits(i));
    return static_cast<std::uint32_t>(used);
}

std::uint32_t PageRuns::find(std::uint32_t count) const {
    const std::uint32_t pages = segment_.layout().pages;
    if (count == 0 || count > pages) return kNotFound;
    std::uint32_t run = 0;
    for (std::uint32_t page = segment_.header().page_hint; page < pages;) {
        const std::uint64_t bits = segment_.page_bits(page / 64);
        if (page % 64 == 0 && bits == ~std::uint64_t{0}) {
            run = 0;
            page += 64;
        } else if (page % 64 == 0 && bits == 0 && pages - page >= 64) {
            run += 64;
            page += 64;
        } else {
            run = bits >> (page % 64) & 1 ? 0 : run + 1;
            ++page;
        }
        if (run >= count) return page - run;
    }
    return kNotFound;
}

void PageRuns::mark(std::uint32_t first, std::uint32_t count, bool used) const {
    if (count > segment_.layout().pages - first)
        fail_corrupted("a run of pages is longer than the data area");
    for (const std::uint32_t end = first + count; first < end;) {
        const std::uint32_t here = std::min(end - first, 64 - first % 64);
        const std::uint64_t ones = ~std::uint64_t{0} >> (64 - here) << (first % 64);
        std::uint64_t &bits = segment_.page_bits(first / 64);
        bits = used ? bits | ones : bits & ~ones;
        first += here;
    }
}

void PageRuns::rebuild() const {
    const std::uint32_t pages = segment_.layout().pages;
    for (std::uint32_t i = 0; i < (pages + 63) / 64; ++i) segment_.page_bits(i) = 0;
    segment_.header().page_hint = 0;
    for (std::uint32_t page = 0; page < pages;) {
        const PageEntry entry = PageEntry::unpack(segment_.page_map(page).load(std::memory_order_relaxed));
        if (entry.kind == PageKind::None) {
            ++page;
            continue;
        }
        if (entry.pages == 0) fail_corrupted("a run of pages is empty");
        OFFGIL_FAULT();
        mark(page, entry.pages, true);
        page += entry.pages;
    }
    segment_.header().repairs.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace offgil::store::managed
