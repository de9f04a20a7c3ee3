// What puts a shard right after a process died: holding its lock, reading from it, or writing to it.
#include <algorithm>
#include <deque>
#include <iterator>
#include <vector>

#include "store/managed/table.h"
#include "store/managed/waiters.h"

namespace offgil::store::managed {

namespace {

void repair(const Segment &segment, std::uint32_t shard) {
    ShardTable(segment, shard).rebuild();
    // The dead owner may have published and not yet notified.
    notify_all(segment, kProcesses);
}

}  // namespace

LockMutex lock_shard(const Segment &segment, std::uint32_t shard, Mode mode) {
    return LockMutex(segment, segment.shard(shard).lock, mode, [&] { repair(segment, shard); });
}

void recount(const Segment &segment) {
    // With all shards locked nothing is on its way in or out.
    std::deque<LockMutex> locks;
    std::uint32_t entries = 0;
    for (std::uint32_t i = 0; i < segment.layout().shards; ++i) {
        locks.emplace_back(segment, segment.shard(i).lock, Mode::Wait, [&] { repair(segment, i); });
        entries += segment.shard(i).entries.load(std::memory_order_relaxed);
    }
    segment.header().entries.store(entries, std::memory_order_relaxed);
    OFFGIL_FAULT();
    segment.header().recount.store(0);
}

void ShardTable::rebuild() const {
    const Layout &layout = segment_.layout();
    for (std::uint32_t i = 0; i < layout.buckets; ++i) segment_.bucket(index_, i) = 0;
    const auto each_topic = [this](auto &&visit) {
        for (std::uint32_t i = 0; i < kTopics; ++i)
            if (i == 0 || segment_.topic(i).ready.load(std::memory_order_acquire)) visit(i);
    };
    each_topic([this](std::uint32_t topic) { segment_.topic_list(topic, index_).levels = 0; });
    OFFGIL_FAULT();
    shard_.free_record = 0;
    shard_.by_use = shard_.expiring = {};
    shard_.expiring_count = shard_.sweep_left = 0;
    shard_.sweep_earliest = 0;
    shard_.earliest.store(0, std::memory_order_relaxed);
    shard_.oldest.store(0, std::memory_order_relaxed);
    shard_.entries.store(0, std::memory_order_relaxed);
    shard_.bytes.store(0, std::memory_order_relaxed);

    std::vector<std::uint32_t> live;
    each_record([&](std::uint32_t i, Record &record) {
        const Word word = word_of(record);
        if (word.state == State::Retired && !pinned(record))
            record.word.store(Word{word.generation + 1, State::Free, 0, 0, 0}.pack(),
                              std::memory_order_release);
        if (word_of(record).state == State::Free) free_record(i);
        if (word.state == State::Live) live.push_back(i);
    });
    std::sort(live.begin(), live.end(), [this](std::uint32_t a, std::uint32_t b) {
        return segment_.record(a).sequence < segment_.record(b).sequence;
    });
    OFFGIL_FAULT();
    // Memory first: a value that was about to be replaced is freed below.
    rebuild_memory();
    OFFGIL_FAULT();
    // In the order of publication, which is what topics need.  Who was read since then is forgotten.
    for (const std::uint32_t i : live) {
        const Record &record = segment_.record(i);
        const std::uint32_t older = find(record.hash, key(record));
        chain(i);
        enlist(i);
        OFFGIL_FAULT();
        shard_.entries.fetch_add(1, std::memory_order_relaxed);
        shard_.bytes.fetch_add(record.length, std::memory_order_relaxed);
        if (older) retire(older);
    }
    // Ranks last, one store each: a taker never sees a topic empty that is not.
    each_topic([this](std::uint32_t topic) { update_rank(topic); });
    OFFGIL_FAULT();
    shard_.version.fetch_add(1);
    segment_.header().recount.store(1);
    segment_.header().repairs.fetch_add(1, std::memory_order_relaxed);
}

void ShardTable::rebuild_memory() const {
    std::vector<std::uint32_t> used;
    each_record([&](std::uint32_t, Record &record) {
        if (word_of(record).state == State::Free || !record.units) return;
        check(record);
        used.push_back(record.units);
    });
    std::sort(used.begin(), used.end());
    if (std::adjacent_find(used.begin(), used.end()) != used.end())
        fail_corrupted("two entries share one value");

    std::fill(std::begin(shard_.classes), std::end(shard_.classes), ClassList{});
    shard_.empty_pages = 0;
    auto next = used.begin();
    for (std::uint32_t page = 0; page < segment_.layout().pages; ++page) {
        const PageEntry entry = PageEntry::unpack(segment_.page_map(page).load(std::memory_order_acquire));
        if (entry.kind == PageKind::None || entry.shard != index_) continue;
        const std::uint32_t start = segment_.units_of_page(page);
        const std::uint32_t end = start + kUnitsOfPage;
        const auto begin = std::lower_bound(next, used.end(), start);
        next = std::lower_bound(begin, used.end(), end);
        if (begin == next) {
            pages_.release(page);
            continue;
        }
        if (entry.kind == PageKind::Run) continue;
        if (entry.size_class >= kClasses) fail_corrupted("a page has no size class");
        OFFGIL_FAULT();
        segment_.page_used(page) = static_cast<std::uint32_t>(next - begin);
        const std::uint32_t size = class_units(entry.size_class);
        auto taken = begin;
        for (std::uint32_t units = start; units + size <= end; units += size) {
            if (taken != next && *taken == units)
                ++taken;
            else
                push_chunk(entry.size_class, units);
        }
        if (taken != next) fail_corrupted("a value does not start where a chunk does");
    }
}

void ShardTable::forget(std::uint32_t process) const {
    std::vector<std::uint32_t> building;
    each_record([&](std::uint32_t i, Record &record) {
        if (word_of(record).state == State::Building && record.owner == process)
            building.push_back(i);
        else if (record.pins[process / 64].load(std::memory_order_relaxed) >> (process % 64) & 1)
            unpin(i, process);
    });
    OFFGIL_FAULT();
    for (const std::uint32_t i : building) abandon(i);
    if (!building.empty()) notify_room(segment_);
}

}  // namespace offgil::store::managed
