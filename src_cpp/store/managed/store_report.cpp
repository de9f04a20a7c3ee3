// What a store says about itself.
#include <algorithm>
#include <bit>

#include "store/managed/futex.h"
#include "store/managed/pages.h"
#include "store/managed/store.h"

namespace offgil::store::managed {

std::vector<std::string> Store::keys() {
    prepare(Mode::Wait);
    const std::int64_t now = monotonic_ns();
    std::vector<std::string> keys;
    for (std::uint32_t i = 0; i < segment_.layout().shards; ++i) {
        const ShardTable shard(segment_, i);
        const LockMutex lock = lock_shard(segment_, i, Mode::Wait);
        shard.each_record([&](std::uint32_t, const Record &record) {
            if (word_of(record).state != State::Live || (record.expires && record.expires <= now)) return;
            keys.emplace_back(shard.key(record));
        });
    }
    return keys;
}

std::uint64_t Store::size() {
    check_open();
    const std::int64_t now = monotonic_ns();
    for (std::uint32_t i = 0; i < segment_.layout().shards; ++i) {
        const std::int64_t earliest = segment_.shard(i).earliest.load(std::memory_order_relaxed);
        if (!earliest || earliest > now) continue;
        prepare(Mode::Wait);
        const LockMutex lock = lock_shard(segment_, i, Mode::Wait);
        ShardTable(segment_, i).sweep_all();
    }
    std::uint64_t entries = 0;
    for (std::uint32_t i = 0; i < segment_.layout().shards; ++i)
        entries += segment_.shard(i).entries.load(std::memory_order_relaxed);
    return entries;
}

Stats Store::stats() const {
    Stats stats{};
    for (std::uint32_t i = 0; i < segment_.layout().shards; ++i) {
        const Shard &shard = segment_.shard(i);
        stats.entries += shard.entries.load(std::memory_order_relaxed);
        stats.bytes_used += shard.bytes.load(std::memory_order_relaxed);
        stats.puts += shard.puts.load(std::memory_order_relaxed);
        stats.takes += shard.takes.load(std::memory_order_relaxed);
        stats.expired += shard.expired.load(std::memory_order_relaxed);
        stats.evicted += shard.evicted.load(std::memory_order_relaxed);
    }
    stats.bytes_limit = segment_.data_bytes();
    stats.entries_limit = segment_.config().max_entries;
    stats.memory_used = PageRuns(segment_).used() * std::uint64_t{kPage};
    stats.waiters = count_waiters(segment_);
    stats.blocked = segment_.room_waits().count.load(std::memory_order_relaxed);
    stats.repairs = segment_.header().repairs.load(std::memory_order_relaxed);
    for (std::uint32_t i = 0; i < kProcesses; ++i) stats.processes += segment_.process(i).used.load() != 0;
    return stats;
}

std::vector<EntryReport> Store::snapshot() {
    prepare(Mode::Wait);
    std::vector<EntryReport> reports;
    for (std::uint32_t i = 0; i < segment_.layout().shards; ++i) {
        const ShardTable shard(segment_, i);
        const LockMutex lock = lock_shard(segment_, i, Mode::Wait);
        const std::int64_t now = monotonic_ns();
        shard.each_record([&](std::uint32_t, const Record &record) {
            const Word word = word_of(record);
            const bool building = word.state == State::Building;
            if (!building && word.state != State::Live) return;
            EntryReport report{};
            report.building = building;
            report.length = record.length;
            // The rest of a record that is being built is that of its predecessor.
            report.key = shard.key(record);
            if (building) {
                report.producer = segment_.process(record.owner).pid.load();
                reports.push_back(std::move(report));
                return;
            }
            if (record.expires && record.expires <= now) return;
            if (record.topic) {
                const Topic &topic = segment_.topic(record.topic);
                report.topic.emplace(topic.name, std::min(topic.length, kMaxTopic));
            }
            report.codec = word.codec;
            report.kind = static_cast<Kind>(word.kind);
            report.priority = word.priority;
            report.age = now - record.created;
            report.lifetime = record.expires ? record.expires - now : 0;
            report.producer = record.producer;
            for (const auto &pins : record.pins)
                report.pins +=
                    static_cast<std::uint32_t>(std::popcount(pins.load(std::memory_order_relaxed)));
            reports.push_back(std::move(report));
        });
    }
    return reports;
}

std::vector<std::uint32_t> Store::processes() {
    prepare(Mode::Wait);
    process_->reap_dead();
    std::vector<std::uint32_t> pids;
    for (std::uint32_t i = 0; i < kProcesses; ++i)
        if (const ProcessSlot &slot = segment_.process(i); slot.used.load()) pids.push_back(slot.pid.load());
    return pids;
}

}  // namespace offgil::store::managed
