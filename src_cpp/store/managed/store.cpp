#include "store/managed/store.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "store/managed/topics.h"

namespace offgil::store::managed {

namespace {

void copy_value(std::byte *place, const PutRequest &request) {
    if (!request.head.empty()) std::memcpy(place, request.head.data(), request.head.size());
    if (!request.body.empty())
        std::memcpy(place + request.head.size(), request.body.data(), request.body.size());
}

std::uint64_t length_of(const PutRequest &request) {
    return request.head.size() + request.body.size();
}

}  // namespace

Store::Store(std::shared_ptr<Process> process, bool creator)
    : process_(std::move(process)),
      segment_(process_->segment()),
      creator_pid_(creator ? static_cast<std::uint32_t>(getpid()) : 0) {}

bool Store::closed() const {
    return closed_.load() || segment_.header().state.load() == SegmentState::Closed;
}

void Store::check_open() const {
    if (closed()) throw Error(ErrorKind::Closed, "the store is closed; open a new one");
}

std::uint32_t Store::checked_hash(std::string_view key) const {
    if (key.size() > kMaxKey)
        throw Error(ErrorKind::KeyTooLong, "a key may take 4096 bytes of UTF-8, not " +
                                               std::to_string(key.size()) + "; store a digest of it instead");
    return segment_.hash(key);
}

/// Before every operation: open, and with a process slot, which takes system calls to get.
bool Store::prepare(Mode mode) {
    check_open();
    if (mode == Mode::Try && !process_->joined()) return false;
    process_->slot();
    return true;
}

// --- put ------------------------------------------------------------------------------------------

Outcome Store::put(const PutRequest &request, Mode mode) {
    const std::uint32_t hash = checked_hash(request.key);
    if (!prepare(mode)) return Outcome::Busy;
    const std::uint32_t topic = make_topic(segment_, request.topic, mode);
    if (topic == kNoTopic) return Outcome::Busy;
    const bool small = length_of(request) <= kSmallValue;
    if (!small && mode == Mode::Try) return Outcome::Busy;
    for (bool again = true;; again = false) {
        Room room = Room::Done;
        const Outcome outcome =
            small ? put_small(request, hash, topic, mode, room) : put_large(request, hash, topic, room);
        if (room == Room::Full) {
            if (mode == Mode::Try) return Outcome::Busy;
            if (!again)
                throw Error(ErrorKind::Full,
                            "no room for " + std::to_string(length_of(request)) +
                                " bytes: " + std::to_string(size()) + " results hold " +
                                std::to_string(stats().bytes_used) + " of " +
                                std::to_string(segment_.data_bytes()) +
                                " bytes; remove results, or make a store with larger bounds");
            make_room();
            continue;
        }
        if (outcome == Outcome::Done) {
            notify_key(segment_, segment_.shard_waits(hash % segment_.layout().shards), hash);
            notify_one(segment_, segment_.topic_waits(topic));
        }
        return outcome;
    }
}

Outcome Store::put_small(const PutRequest &request, std::uint32_t hash, std::uint32_t topic, Mode mode,
                         Room &room) {
    const std::uint32_t index = hash % segment_.layout().shards;
    const ShardTable shard(segment_, index);
    const LockMutex lock = lock_shard(segment_, index, mode);
    if (!lock.held()) return Outcome::Busy;
    const std::uint32_t existing = shard.find(hash, request.key);
    if (existing && request.if_absent) return Outcome::Exists;
    std::uint32_t record = 0;
    room = shard.reserve(hash, request.key, length_of(request), mode, false, 0, record);
    if (room != Room::Done) return Outcome::Busy;
    copy_value(shard.value(segment_.record(record)), request);
    shard.publish(record, existing, request.codec, request.priority, static_cast<std::uint16_t>(topic));
    return Outcome::Done;
}

Outcome Store::put_large(const PutRequest &request, std::uint32_t hash, std::uint32_t topic, Room &room) {
    const std::uint32_t index = hash % segment_.layout().shards;
    const ShardTable shard(segment_, index);
    const auto owner = static_cast<std::uint16_t>(process_->slot());
    std::uint32_t record = 0;
    std::byte *place = nullptr;
    {
        const LockMutex lock = lock_shard(segment_, index, Mode::Wait);
        if (request.if_absent && shard.find(hash, request.key)) return Outcome::Exists;
        room = shard.reserve(hash, request.key, length_of(request), Mode::Wait, true, owner, record);
        if (room != Room::Done) return Outcome::Busy;
        place = shard.value(segment_.record(record));
    }
    copy_value(place, request);
    const LockMutex lock = lock_shard(segment_, index, Mode::Wait);
    const std::uint32_t existing = shard.find(hash, request.key);
    if (existing && request.if_absent) {
        shard.abandon(record);
        return Outcome::Exists;
    }
    shard.publish(record, existing, request.codec, request.priority, static_cast<std::uint16_t>(topic));
    return Outcome::Done;
}

void Store::make_room() {
    process_->reap_dead();
    for (std::uint32_t i = 0; i < segment_.layout().shards; ++i) {
        const LockMutex lock = lock_shard(segment_, i, Mode::Wait);
        ShardTable(segment_, i).trim();
    }
}

// --- get ------------------------------------------------------------------------------------------

void Store::fetch(const ShardTable &shard, std::uint32_t shard_index, std::uint32_t index, bool consume,
                  Fetched &out) {
    const Record &record = segment_.record(index);
    out.codec_ = word_of(record).codec;
    out.size_ = record.length;
    const std::byte *value = shard.value(record);
    if (out.size_ <= kSmallValue) {
        if (out.size_) std::memcpy(out.copy_.data(), value, out.size_);
        out.data_ = out.copy_.data();
    } else {
        process_->pin(shard, index);
        out.data_ = value;
        out.process_ = process_.get();
        out.shard_ = shard_index;
        out.record_ = index;
    }
    if (!consume) return;
    segment_.shard(shard_index).takes.fetch_add(1, std::memory_order_relaxed);
    shard.retire(index);
}

void Fetched::release() {
    if (!process_) return;
    const Segment &segment = process_->segment();
    const ShardTable shard(segment, shard_);
    const LockMutex lock = lock_shard(segment, shard_, Mode::Wait);
    process_->unpin(shard, record_);
    process_ = nullptr;
}

Outcome Store::get(std::string_view key, bool consume, Fetched &out, Mode mode) {
    const std::uint32_t hash = checked_hash(key);
    if (!prepare(mode)) return Outcome::Busy;
    const std::uint32_t index = hash % segment_.layout().shards;
    const ShardTable shard(segment_, index);
    const LockMutex lock = lock_shard(segment_, index, mode);
    if (!lock.held()) return Outcome::Busy;
    const std::uint32_t record = shard.find(hash, key);
    if (!record) return Outcome::Absent;
    fetch(shard, index, record, consume, out);
    return Outcome::Done;
}

Outcome Store::contains(std::string_view key, Mode mode) {
    const std::uint32_t hash = checked_hash(key);
    if (!prepare(mode)) return Outcome::Busy;
    const std::uint32_t index = hash % segment_.layout().shards;
    const LockMutex lock = lock_shard(segment_, index, mode);
    if (!lock.held()) return Outcome::Busy;
    return ShardTable(segment_, index).find(hash, key) ? Outcome::Done : Outcome::Absent;
}

Outcome Store::remove(std::string_view key, Mode mode) {
    const std::uint32_t hash = checked_hash(key);
    if (!prepare(mode)) return Outcome::Busy;
    const std::uint32_t index = hash % segment_.layout().shards;
    const ShardTable shard(segment_, index);
    const LockMutex lock = lock_shard(segment_, index, mode);
    if (!lock.held()) return Outcome::Busy;
    const std::uint32_t record = shard.find(hash, key);
    if (!record) return Outcome::Absent;
    shard.retire(record);
    return Outcome::Done;
}

// --- all of it ------------------------------------------------------------------------------------

std::vector<std::string> Store::keys() {
    prepare(Mode::Wait);
    std::vector<std::string> keys;
    for (std::uint32_t i = 0; i < segment_.layout().shards; ++i) {
        const ShardTable shard(segment_, i);
        const LockMutex lock = lock_shard(segment_, i, Mode::Wait);
        shard.each_record([&](std::uint32_t, const Record &record) {
            if (word_of(record).state == State::Live) keys.emplace_back(shard.key(record));
        });
    }
    return keys;
}

void Store::clear() {
    prepare(Mode::Wait);
    for (std::uint32_t i = 0; i < segment_.layout().shards; ++i) {
        const ShardTable shard(segment_, i);
        const LockMutex lock = lock_shard(segment_, i, Mode::Wait);
        shard.each_record([&](std::uint32_t index, const Record &record) {
            if (word_of(record).state == State::Live) shard.retire(index);
        });
    }
}

std::uint64_t Store::size() {
    check_open();
    return stats().entries;
}

Stats Store::stats() const {
    Stats stats{};
    for (std::uint32_t i = 0; i < segment_.layout().shards; ++i) {
        const Shard &shard = segment_.shard(i);
        stats.entries += shard.entries.load(std::memory_order_relaxed);
        stats.bytes_used += shard.bytes.load(std::memory_order_relaxed);
        stats.puts += shard.puts.load(std::memory_order_relaxed);
        stats.takes += shard.takes.load(std::memory_order_relaxed);
    }
    stats.bytes_limit = segment_.data_bytes();
    stats.waiters = count_waiters(segment_);
    stats.repairs = segment_.header().repairs.load(std::memory_order_relaxed);
    return stats;
}

void Store::close() {
    closed_.store(true);
    if (creator_pid_ == static_cast<std::uint32_t>(getpid())) {
        segment_.header().state.store(SegmentState::Closed);
        notify_all(segment_, kProcesses);
    } else if (process_->joined()) {
        notify_all(segment_, process_->slot());
    }
}

}  // namespace offgil::store::managed
