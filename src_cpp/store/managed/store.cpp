#include "store/managed/store.h"

#include <unistd.h>

#include <cstring>

#include "store/managed/futex.h"
#include "store/managed/topics.h"

namespace offgil::store::managed {

namespace {

void copy_parts(std::byte *place, Parts parts) {
    for (const std::span<const std::byte> part : parts) {
        if (!part.empty()) std::memcpy(place, part.data(), part.size());
        place += part.size();
    }
}

std::uint64_t length_of(Parts parts) {
    std::uint64_t length = 0;
    for (const std::span<const std::byte> part : parts) length += part.size();
    return length;
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

/// Before every operation: open, and with what takes longer than a lock done.  False if Mode::Try forbids
/// that.
bool Store::prepare(Mode mode) {
    check_open();
    const bool uncounted =
        segment_.config().max_entries && segment_.header().recount.load(std::memory_order_relaxed);
    if (process_->joined() && !process_->has_dropped() && !uncounted) return true;
    if (mode == Mode::Try) return false;
    process_->slot();
    process_->let_go_dropped();
    if (uncounted) recount(segment_);
    return true;
}

// --- put ------------------------------------------------------------------------------------------

Publication Store::publication_of(const EntryRequest &request, std::uint32_t topic) const {
    return {request.codec,    request.kind,
            request.priority, static_cast<std::uint16_t>(topic),
            request.lifetime, segment_.process(process_->slot()).pid.load(std::memory_order_relaxed)};
}

void Store::notify(std::uint32_t hash, std::uint32_t topic) const {
    OFFGIL_FAULT();
    notify_key(segment_, segment_.shard_waits(shard_of(hash)), hash);
    notify_one(segment_, segment_.topic_waits(topic));
}

/// A put sweeps its own shard; now and then it looks after one of the others, which may see no puts.
void Store::sweep_another() const {
    constexpr std::uint32_t puts = 4, entries = 16;
    thread_local std::uint32_t turn = 0;
    if (++turn % puts) return;
    const std::uint32_t index = turn / puts % segment_.layout().shards;
    const std::int64_t earliest = segment_.shard(index).earliest.load(std::memory_order_relaxed);
    if (!earliest || earliest > monotonic_ns()) return;
    const LockMutex lock = lock_shard(segment_, index, Mode::Try);
    if (lock.held()) ShardTable(segment_, index).sweep(entries);
}

Outcome Store::put(const EntryRequest &request, Parts value, Mode mode, const Patience &patience) {
    const std::uint32_t hash = checked_hash(request.key);
    if (!prepare(mode)) return Outcome::Busy;
    const std::uint64_t length = length_of(value);
    if (length > kSmallValue) {
        if (mode == Mode::Try) return Outcome::Busy;
        if (request.if_absent && contains(request.key) == Outcome::Done) return Outcome::Exists;
        HeldPointer held;
        const Outcome outcome = reserve(request.key, length, held, patience);
        if (outcome != Outcome::Done) return outcome;
        process_->populated().populate(segment_, held->memory());
        copy_parts(held->memory().data(), value);
        return commit(request, *held, patience);
    }
    const std::uint32_t topic = make_topic(segment_, request.topic, mode);
    if (topic == kNoTopic) return Outcome::Busy;
    Outcome outcome = Outcome::Done;
    const auto attempt = [&] { return put_small(request, value, length, hash, topic, mode, outcome); };
    if (const Room room = attempt(); room != Room::Done) {
        if (mode == Mode::Try) return Outcome::Busy;
        if (!find_room(room, length, shard_of(hash), patience, attempt)) return Outcome::Interrupted;
    }
    if (outcome == Outcome::Done) notify(hash, topic);
    sweep_another();
    return outcome;
}

Room Store::put_small(const EntryRequest &request, Parts value, std::uint64_t length, std::uint32_t hash,
                      std::uint32_t topic, Mode mode, Outcome &outcome) {
    const std::uint32_t index = shard_of(hash);
    const ShardTable shard(segment_, index);
    const LockMutex lock = lock_shard(segment_, index, mode);
    if (!lock.held()) return Room::Busy;
    const std::uint32_t existing = shard.find(hash, request.key);
    if (existing && request.if_absent) {
        outcome = Outcome::Exists;
        return Room::Done;
    }
    std::uint32_t record = 0;
    Room room = shard.reserve(hash, request.key, length, mode, false, 0, record);
    if (room != Room::Done) return room;
    copy_parts(shard.value(segment_.record(record)), value);
    room = shard.publish(record, existing, publication_of(request, topic));
    if (room != Room::Done) shard.abandon(record);
    return room;
}

// --- get ------------------------------------------------------------------------------------------

void Store::fetch(const ShardTable &shard, std::uint32_t shard_index, std::uint32_t index, bool consume,
                  bool hold, Fetched &out) {
    const Record &record = segment_.record(index);
    shard.check(record);
    const Word word = word_of(record);
    out.codec_ = word.codec;
    out.kind_ = static_cast<Kind>(word.kind);
    out.size_ = record.length;
    std::byte *const value = shard.value(record);
    if (out.size_ <= kSmallValue && !(hold && out.size_)) {
        if (out.size_) std::memcpy(out.copy_.data(), value, out.size_);
        out.data_ = out.copy_.data();
    } else {
        process_->pin(shard, index);
        out.data_ = value;
        out.process_ = process_;
        out.shard_ = shard_index;
        out.record_ = index;
    }
    if (!consume) return shard.touch(index);
    segment_.shard(shard_index).takes.fetch_add(1, std::memory_order_relaxed);
    shard.retire(index);
}

Outcome Store::get(std::string_view key, bool consume, Fetched &out, Mode mode, bool hold) {
    const std::uint32_t hash = checked_hash(key);
    if (!prepare(mode)) return Outcome::Busy;
    const std::uint32_t index = shard_of(hash);
    const ShardTable shard(segment_, index);
    const LockMutex lock = lock_shard(segment_, index, mode);
    if (!lock.held()) return Outcome::Busy;
    const std::uint32_t record = shard.find(hash, key);
    if (!record) return Outcome::Absent;
    fetch(shard, index, record, consume, hold, out);
    return Outcome::Done;
}

Outcome Store::contains(std::string_view key, Mode mode) {
    const std::uint32_t hash = checked_hash(key);
    if (!prepare(mode)) return Outcome::Busy;
    const std::uint32_t index = shard_of(hash);
    const LockMutex lock = lock_shard(segment_, index, mode);
    if (!lock.held()) return Outcome::Busy;
    return ShardTable(segment_, index).find(hash, key) ? Outcome::Done : Outcome::Absent;
}

Outcome Store::remove(std::string_view key, Mode mode) {
    const std::uint32_t hash = checked_hash(key);
    if (!prepare(mode)) return Outcome::Busy;
    const std::uint32_t index = shard_of(hash);
    const ShardTable shard(segment_, index);
    const LockMutex lock = lock_shard(segment_, index, mode);
    if (!lock.held()) return Outcome::Busy;
    const std::uint32_t record = shard.find(hash, key);
    if (!record) return Outcome::Absent;
    shard.retire(record);
    return Outcome::Done;
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

// --- the end --------------------------------------------------------------------------------------

void Store::close() {
    closed_.store(true);
    if (creator_pid_ == static_cast<std::uint32_t>(getpid()))
        shut_down();
    else if (process_->joined())
        notify_all(segment_, process_->slot());
}

void Store::shut_down() {
    segment_.header().state.store(SegmentState::Closed);
    notify_all(segment_, kProcesses);
}

}  // namespace offgil::store::managed
