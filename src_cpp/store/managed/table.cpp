#include "store/managed/table.h"

#include <bit>
#include <cstring>

namespace offgil::store::managed {

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
        if (record.hash == hash && record.key_length == wanted.size() && key(record) == wanted) return i;
        if (++steps > segment_.layout().records) fail_corrupted("a hash chain has no end");
    }
    return 0;
}

std::uint32_t ShardTable::first(std::uint32_t topic) const {
    const TopicList &list = segment_.topic_list(topic, index_);
    return list.levels ? list.head[std::bit_width(list.levels) - 1] : 0;
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
    const std::uint64_t prefix = key_prefix(record.key_length);
    if (prefix + length) {
        std::uint32_t units = 0;
        const Room room = allocate(prefix + length, mode, units);
        if (room != Room::Done) {
            abandon(index);
            return room;
        }
        record.units = units;
    }
    char *place = prefix ? reinterpret_cast<char *>(segment_.data(record.units, prefix)) : record.key;
    if (!wanted.empty()) std::memcpy(place, wanted.data(), wanted.size());
    return Room::Done;
}

void ShardTable::publish(std::uint32_t index, std::uint32_t existing, std::uint8_t codec,
                         std::uint8_t priority, std::uint16_t topic) const {
    Record &record = segment_.record(index);
    record.topic = topic;
    record.sequence = segment_.header().sequence.fetch_add(1, std::memory_order_relaxed);
    // From here on a crash keeps the new value; if the old one is live too, repair keeps the later sequence.
    record.word.store(Word{word_of(record).generation, State::Live, 0, codec, priority}.pack(),
                      std::memory_order_release);
    chain(index);
    enqueue(index);
    if (existing) retire(existing);
    update_rank(topic);
    shard_.entries.fetch_add(1, std::memory_order_relaxed);
    shard_.bytes.fetch_add(record.length, std::memory_order_relaxed);
    shard_.puts.fetch_add(1, std::memory_order_relaxed);
}

void ShardTable::retire(std::uint32_t index) const {
    Record &record = segment_.record(index);
    Word word = word_of(record);
    word.state = State::Retired;
    record.word.store(word.pack(), std::memory_order_release);
    unchain(index);
    dequeue(index);
    update_rank(record.topic);
    shard_.entries.fetch_sub(1, std::memory_order_relaxed);
    shard_.bytes.fetch_sub(record.length, std::memory_order_relaxed);
    collect(index);
}

void ShardTable::collect(std::uint32_t index) const {
    const Record &record = segment_.record(index);
    if (word_of(record).state == State::Retired && !pinned(record)) abandon(index);
}

void ShardTable::abandon(std::uint32_t index) const {
    Record &record = segment_.record(index);
    const std::uint32_t units = record.units;
    // Free first: a chunk that no record names belongs to nobody, and repair finds it.
    record.word.store(Word{word_of(record).generation + 1, State::Free, 0, 0, 0}.pack(),
                      std::memory_order_release);
    if (units) free_chunk(units);
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
            if (segment_.group_owner(group).compare_exchange_strong(nobody,
                                                                    static_cast<std::uint8_t>(index_ + 1)))
                break;
        }
        hint.store(group < groups ? group + 1 : groups, std::memory_order_relaxed);
        if (group >= groups) return 0;
        const std::uint32_t first = group * kGroupRecords;
        for (std::uint32_t i = first + kGroupRecords; i-- > (first ? first : 1);) free_record(i);
    }
    const std::uint32_t index = shard_.free_record;
    shard_.free_record = segment_.record(index).next;
    return index;
}

void ShardTable::free_record(std::uint32_t index) const {
    segment_.record(index).next = shard_.free_record;
    shard_.free_record = index;
}

// --- chains and topic lists -----------------------------------------------------------------------

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

void ShardTable::enqueue(std::uint32_t index) const {
    Record &record = segment_.record(index);
    TopicList &list = segment_.topic_list(record.topic, index_);
    const std::uint8_t level = word_of(record).priority & (kPriorities - 1);
    const bool empty = !(list.levels >> level & 1);
    record.topic_next = 0;
    record.topic_previous = empty ? 0 : list.tail[level];
    if (empty)
        list.head[level] = index;
    else
        segment_.record(list.tail[level]).topic_next = index;
    list.tail[level] = index;
    list.levels |= std::uint64_t{1} << level;
}

void ShardTable::dequeue(std::uint32_t index) const {
    const Record &record = segment_.record(index);
    TopicList &list = segment_.topic_list(record.topic, index_);
    const std::uint8_t level = word_of(record).priority & (kPriorities - 1);
    if (record.topic_next)
        segment_.record(record.topic_next).topic_previous = record.topic_previous;
    else
        list.tail[level] = record.topic_previous;
    if (record.topic_previous)
        segment_.record(record.topic_previous).topic_next = record.topic_next;
    else
        list.head[level] = record.topic_next;
    if (!list.head[level]) list.levels &= ~(std::uint64_t{1} << level);
}

void ShardTable::update_rank(std::uint32_t topic) const {
    const std::uint32_t index = first(topic);
    const Record &record = segment_.record(index);
    // Sequentially consistent with a taker's registration: one of the two sees the other (store_wait.cpp).
    segment_.rank(topic, index_).store(index ? rank_of(word_of(record).priority, record.sequence) : 0);
}

// --- memory ---------------------------------------------------------------------------------------

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
        list.bump_end = list.bump + static_cast<std::uint32_t>(kPage / kUnit);
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
    std::uint32_t units = list.free;
    if (units) {
        // Last in, first out: that memory is in the cache.
        std::memcpy(&list.free, segment_.data(units, sizeof list.free), sizeof list.free);
    } else {
        const std::uint32_t size = class_units(size_class);
        if (list.bump_end - list.bump < size) return 0;
        units = list.bump;
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
    if (--segment_.page_used(page) == 0) ++shard_.empty_pages;
}

void ShardTable::trim() const {
    if (shard_.empty_pages) rebuild_memory();
}

}  // namespace offgil::store::managed
