// The memory of values: chunks of a size class in slabs that belong to a shard, and runs of whole pages.
#include <algorithm>
#include <cstring>

#include "store/managed/table.h"

namespace offgil::store::managed {

Room ShardTable::allocate(std::uint64_t bytes, Mode mode, std::uint32_t &units) const {
    const auto shard = static_cast<std::uint16_t>(index_);
    std::uint32_t page = 0;
    if (bytes > kSmallChunk) {
        if (bytes > segment_.data_bytes()) return Room::Full;
        const auto count = static_cast<std::uint32_t>((bytes + kPage - 1) / kPage);
        const Room room = pages_.allocate({PageKind::Run, 0, shard, count}, mode, page);
        if (room == Room::Done) units = segment_.units_of_page(page);
        return room;
    }
    const std::uint32_t wanted = class_of(bytes);
    units = take_chunk(wanted);
    if (units) return Room::Done;
    const Room room =
        pages_.allocate({PageKind::Slab, static_cast<std::uint8_t>(wanted), shard, 1}, mode, page);
    if (room == Room::Busy) return room;
    if (room == Room::Done) {
        ClassList &list = shard_.classes[wanted];
        list.bump = segment_.units_of_page(page);
        list.bump_end = list.bump + kUnitsOfPage;
        segment_.page_used(page) = 0;
        ++shard_.empty_pages;
        units = take_chunk(wanted);
        return Room::Done;
    }
    for (std::uint32_t larger = wanted + 1; larger < kClasses && !units; ++larger) units = take_chunk(larger);
    return units ? Room::Done : Room::Full;
}

std::uint32_t ShardTable::take_chunk(std::uint32_t size_class) const {
    ClassList &list = shard_.classes[size_class];
    const std::uint32_t units = list.free ? list.free : list.bump;
    if (list.free) {
        // Last in, first out: that memory is in the cache.
        std::memcpy(&list.free, segment_.data(units, sizeof list.free), sizeof list.free);
    } else {
        const std::uint32_t size = class_units(size_class);
        if (list.bump_end - list.bump < size) return 0;
        list.bump += size;
    }
    if (segment_.page_used(segment_.page_of(units))++ == 0) --shard_.empty_pages;
    return units;
}

void ShardTable::push_chunk(std::uint32_t size_class, std::uint32_t units) const {
    ClassList &list = shard_.classes[size_class];
    std::memcpy(segment_.data(units, sizeof list.free), &list.free, sizeof list.free);
    list.free = units;
}

void ShardTable::free_chunk(std::uint32_t units) const {
    const std::uint32_t page = segment_.page_of(units);
    const PageEntry entry = PageEntry::unpack(segment_.page_map(page).load(std::memory_order_relaxed));
    if (entry.kind == PageKind::None || entry.shard != index_)
        fail_corrupted("a value lies in foreign memory");
    if (entry.kind == PageKind::Run) return pages_.release(page);
    if (entry.size_class >= kClasses) fail_corrupted("a page has no size class");
    push_chunk(entry.size_class, units);
    OFFGIL_FAULT();
    if (--segment_.page_used(page) == 0) ++shard_.empty_pages;
}

void ShardTable::check(const Record &record) const {
    const std::uint64_t bytes = key_prefix(record.key_length) + record.length;
    if (bytes == 0) return;
    const std::uint32_t page = segment_.page_of(record.units);
    const PageEntry entry = PageEntry::unpack(segment_.page_map(page).load(std::memory_order_relaxed));
    const std::uint32_t offset = record.units - segment_.units_of_page(page);
    const bool run = entry.kind == PageKind::Run;
    const std::uint32_t units = run ? entry.pages * kUnitsOfPage
                                    : class_units(std::min<std::uint32_t>(entry.size_class, kClasses - 1));
    if (entry.kind == PageKind::None || entry.shard != index_ || bytes > units * kUnit || offset % units)
        fail_corrupted("a value does not lie where one may");
}

void ShardTable::trim() const {
    if (shard_.empty_pages) rebuild_memory();
}

}  // namespace offgil::store::managed
