#include "store/managed/table.h"

#include <cstring>

#include "store/managed/futex.h"
#include "store/managed/waiters.h"

namespace offgil::store::managed {

namespace {

constexpr std::uint32_t kSweep = 4;  ///< entries that each put looks at for expiry

}  // namespace

std::byte *ShardTable::value(const Record &record) const {
    if (record.length == 0) return nullptr;
    const std::uint64_t prefix = key_prefix(record.key_length);
    if (record.length > segment_.data_bytes()) fail_corrupted("a value is longer than the store");
    return segment_.data(record.units, prefix + record.length) + prefix;
}

std::string_view ShardTable::key(const Record &record) const {
    if (record.key_length <= kInlineKey) return {record.key, record.key_length};
    return {reinterpret_cast<const char *>(segment_.data(record.units, record.key_length)),
            record.key_length};
}

// --- finding --------------------------------------------------------------------------------------

std::uint32_t ShardTable::find(std::uint32_t hash, std::string_view wanted) const {
    std::uint32_t steps = 0;
    for (std::uint32_t i = segment_.bucket(index_, bucket_of(hash)); i; i = segment_.record(i).next) {
        const Record &record = segment_.record(i);
        if (word_of(record).state != State::Live) fail_corrupted("a hash chain leads to what is not in it");
        if (record.hash == hash && record.key_length == wanted.size() && key(record) == wanted)
            return record.expires && expire(i, monotonic_ns()) ? 0 : i;
        if (++steps > segment_.layout().records) fail_corrupted("a hash chain has no end");
    }
    return 0;
}

// --- the life of a record -------------------------------------------------------------------------

Room ShardTable::reserve(std::uint32_t hash, std::string_view wanted, std::uint64_t length, Mode mode,
                         bool building, std::uint16_t owner, std::uint32_t &index) const {
    index = take_record();
    if (!index) return Room::Full;
    Record &record = segment_.record(index);
    const Word old = word_of(record);
    record.hash = hash;
    record.key_length = static_cast<std::uint16_t>(wanted.size());
    record.length = length;
    record.owner = owner;
    record.units = 0;
    if (building)
        record.word.store(Word{old.generation, State::Building, 0, 0, 0}.pack(), std::memory_order_release);
    OFFGIL_FAULT();
    const std::uint64_t prefix = key_prefix(record.key_length);
    if (prefix + length) {
        std::uint32_t units = 0;
        const Room room = allocate(prefix + length, mode, units);
        if (room != Room::Done) {
            abandon(index);
            return room;
        }
        OFFGIL_FAULT();
        record.units = units;
    }
    char *place = prefix ? reinterpret_cast<char *>(segment_.data(record.units, prefix)) : record.key;
    if (!wanted.empty()) std::memcpy(place, wanted.data(), wanted.size());
    return Room::Done;
}

Room ShardTable::publish(std::uint32_t index, std::uint32_t existing, const Publication &publication) const {
    Header &header = segment_.header();
    if (const std::uint32_t limit = segment_.config().max_entries; limit && !existing) {
        // Counted before it is there, so that two shards cannot both take the last place.
        if (header.entries.fetch_add(1) >= limit) {
            header.entries.fetch_sub(1);
            return Room::Crowded;
        }
    }
    OFFGIL_FAULT();
    Record &record = segment_.record(index);
    record.topic = publication.topic;
    record.producer = publication.producer;
    record.sequence = header.sequence.fetch_add(1, std::memory_order_relaxed);
    record.created = record.used = monotonic_ns();
    record.expires = publication.lifetime ? record.created + publication.lifetime : 0;
    const Word word{word_of(record).generation, State::Live, static_cast<std::uint8_t>(publication.kind),
                    publication.codec, publication.priority};
    OFFGIL_FAULT();
    // From here on a crash keeps the new value; if the old one is live too, repair keeps the later sequence.
    record.word.store(word.pack(), std::memory_order_release);
    OFFGIL_FAULT();
    chain(index);
    OFFGIL_FAULT();
    enlist(index);
    OFFGIL_FAULT();
    shard_.entries.fetch_add(1, std::memory_order_relaxed);
    shard_.bytes.fetch_add(record.length, std::memory_order_relaxed);
    shard_.puts.fetch_add(1, std::memory_order_relaxed);
    if (existing) {
        // The place of the old one passes on to the new one.
        if (segment_.config().max_entries) header.entries.fetch_add(1);
        retire(existing);
    }
    update_rank(publication.topic);
    shard_.version.fetch_add(1);
    sweep(kSweep);
    return Room::Done;
}

void ShardTable::retire(std::uint32_t index) const {
    Record &record = segment_.record(index);
    Word word = word_of(record);
    if (word.state != State::Live) fail_corrupted("an entry is removed that is not there");
    word.state = State::Retired;
    record.word.store(word.pack(), std::memory_order_release);
    OFFGIL_FAULT();
    unchain(index);
    OFFGIL_FAULT();
    delist(index);
    update_rank(record.topic);
    OFFGIL_FAULT();
    shard_.entries.fetch_sub(1, std::memory_order_relaxed);
    shard_.bytes.fetch_sub(record.length, std::memory_order_relaxed);
    if (segment_.config().max_entries) segment_.header().entries.fetch_sub(1);
    collect(index);
    notify_room(segment_);
}

void ShardTable::collect(std::uint32_t index) const {
    const Record &record = segment_.record(index);
    if (word_of(record).state != State::Retired || pinned(record)) return;
    abandon(index);
    // Not in abandon(): a put that finds no room comes by there, and would wake itself for ever.
    notify_room(segment_);
}

void ShardTable::abandon(std::uint32_t index) const {
    Record &record = segment_.record(index);
    const std::uint32_t units = record.units;
    OFFGIL_FAULT();
    // Free first: a chunk that no record names belongs to nobody, and repair finds it.
    record.word.store(Word{word_of(record).generation + 1, State::Free, 0, 0, 0}.pack(),
                      std::memory_order_release);
    OFFGIL_FAULT();
    if (units) free_chunk(units);
    OFFGIL_FAULT();
    free_record(index);
}

void ShardTable::pin(std::uint32_t index, std::uint32_t process) const {
    segment_.record(index).pins[process / 64].fetch_or(std::uint64_t{1} << (process % 64),
                                                       std::memory_order_acq_rel);
}

void ShardTable::unpin(std::uint32_t index, std::uint32_t process) const {
    segment_.record(index).pins[process / 64].fetch_and(~(std::uint64_t{1} << (process % 64)),
                                                        std::memory_order_acq_rel);
    collect(index);
}

std::uint32_t ShardTable::take_record() const {
    if (!shard_.free_record) {
        std::atomic<std::uint32_t> &hint = segment_.header().group_hint;
        const std::uint32_t groups = segment_.layout().groups;
        std::uint32_t group = hint.load(std::memory_order_relaxed);
        for (; group < groups; ++group) {
            std::uint8_t nobody = 0;
            if (segment_.group_owner(group).load(std::memory_order_relaxed)) continue;
            if (!segment_.back_group(group)) return 0;
            if (segment_.group_owner(group).compare_exchange_strong(nobody,
                                                                    static_cast<std::uint8_t>(index_ + 1)))
                break;
        }
        hint.store(group < groups ? group + 1 : groups, std::memory_order_relaxed);
        if (group >= groups) return 0;
        OFFGIL_FAULT();
        const std::uint32_t first = group * kGroupRecords;
        for (std::uint32_t i = first + kGroupRecords; i-- > (first ? first : 1);) free_record(i);
    }
    const std::uint32_t index = shard_.free_record;
    if (word_of(segment_.record(index)).state != State::Free) fail_corrupted("a free entry is in use");
    shard_.free_record = segment_.record(index).next;
    OFFGIL_FAULT();
    return index;
}

void ShardTable::free_record(std::uint32_t index) const {
    segment_.record(index).next = shard_.free_record;
    shard_.free_record = index;
}

// --- chains -----------------------------------------------------------------------------------------

void ShardTable::chain(std::uint32_t index) const {
    Record &record = segment_.record(index);
    std::uint32_t &head = segment_.bucket(index_, bucket_of(record.hash));
    record.next = head;
    head = index;
}

void ShardTable::unchain(std::uint32_t index) const {
    const Record &record = segment_.record(index);
    std::uint32_t *link = &segment_.bucket(index_, bucket_of(record.hash));
    for (std::uint32_t steps = 0; *link != index; link = &segment_.record(*link).next)
        if (!*link || ++steps > segment_.layout().records) fail_corrupted("a hash chain misses an entry");
    *link = record.next;
}

}  // namespace offgil::store::managed
