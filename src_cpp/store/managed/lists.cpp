// The orders that a shard keeps its live records in: by topic and priority, by use, by expiry.  All derived.
#include <algorithm>
#include <bit>

#include "store/managed/futex.h"
#include "store/managed/table.h"

namespace offgil::store::managed {

namespace {

/// Which two members of a Record link it into a list.
struct Links {
    std::uint32_t Record::*next;
    std::uint32_t Record::*previous;
};
constexpr Links kByTopic{&Record::topic_next, &Record::topic_previous};
constexpr Links kByUse{&Record::used_next, &Record::used_previous};
constexpr Links kExpiring{&Record::ttl_next, &Record::ttl_previous};

void append(const Segment &segment, Links links, std::uint32_t &head, std::uint32_t &tail,
            std::uint32_t index) {
    Record &record = segment.record(index);
    record.*links.next = 0;
    record.*links.previous = tail;
    (tail ? segment.record(tail).*links.next : head) = index;
    tail = index;
}

void remove(const Segment &segment, Links links, std::uint32_t &head, std::uint32_t &tail,
            std::uint32_t index) {
    const Record &record = segment.record(index);
    const std::uint32_t next = record.*links.next, previous = record.*links.previous;
    (previous ? segment.record(previous).*links.next : head) = next;
    (next ? segment.record(next).*links.previous : tail) = previous;
}

/// The lower of two times, where 0 is none.
std::int64_t earlier(std::int64_t a, std::int64_t b) {
    return a && b ? std::min(a, b) : a + b;
}

}  // namespace

void ShardTable::enlist(std::uint32_t index) const {
    Record &record = segment_.record(index);
    TopicList &list = segment_.topic_list(record.topic, index_);
    const std::uint8_t level = word_of(record).priority & (kPriorities - 1);
    if (!(list.levels >> level & 1)) list.head[level] = list.tail[level] = 0;
    append(segment_, kByTopic, list.head[level], list.tail[level], index);
    list.levels |= std::uint64_t{1} << level;
    OFFGIL_FAULT();
    if (segment_.config().policy == Policy::Evict) {
        append(segment_, kByUse, shard_.by_use.head, shard_.by_use.tail, index);
        update_oldest();
    }
    if (!record.expires) return;
    append(segment_, kExpiring, shard_.expiring.head, shard_.expiring.tail, index);
    ++shard_.expiring_count;
    ++shard_.sweep_left;
    shard_.earliest.store(earlier(shard_.earliest.load(std::memory_order_relaxed), record.expires));
}

void ShardTable::delist(std::uint32_t index) const {
    const Record &record = segment_.record(index);
    TopicList &list = segment_.topic_list(record.topic, index_);
    const std::uint8_t level = word_of(record).priority & (kPriorities - 1);
    remove(segment_, kByTopic, list.head[level], list.tail[level], index);
    if (!list.head[level]) list.levels &= ~(std::uint64_t{1} << level);
    OFFGIL_FAULT();
    if (segment_.config().policy == Policy::Evict) {
        remove(segment_, kByUse, shard_.by_use.head, shard_.by_use.tail, index);
        update_oldest();
    }
    if (!record.expires) return;
    remove(segment_, kExpiring, shard_.expiring.head, shard_.expiring.tail, index);
    if (--shard_.expiring_count) return;
    shard_.earliest.store(0);
    shard_.sweep_earliest = 0;
    shard_.sweep_left = 0;
}

// --- topics ---------------------------------------------------------------------------------------

std::uint32_t ShardTable::first(std::uint32_t topic) const {
    const TopicList &list = segment_.topic_list(topic, index_);
    while (list.levels) {
        const std::uint32_t index = list.head[std::bit_width(list.levels) - 1];
        const Record &record = segment_.record(index);
        if (word_of(record).state != State::Live || record.topic != topic)
            fail_corrupted("a topic's list leads to what is not in it");
        if (!record.expires || !expire(index, monotonic_ns())) return index;
    }
    return 0;
}

void ShardTable::update_rank(std::uint32_t topic) const {
    // Not by first(): removing what has expired there comes back to here.
    const TopicList &list = segment_.topic_list(topic, index_);
    const std::uint32_t index = list.levels ? list.head[std::bit_width(list.levels) - 1] : 0;
    const Record &record = segment_.record(index);
    // Sequentially consistent with a taker's registration: one of the two sees the other (store_wait.cpp).
    segment_.rank(topic, index_).store(index ? rank_of(word_of(record).priority, record.sequence) : 0);
}

// --- use ------------------------------------------------------------------------------------------

void ShardTable::touch(std::uint32_t index) const {
    if (segment_.config().policy != Policy::Evict) return;
    segment_.record(index).used = monotonic_ns();
    remove(segment_, kByUse, shard_.by_use.head, shard_.by_use.tail, index);
    append(segment_, kByUse, shard_.by_use.head, shard_.by_use.tail, index);
    update_oldest();
}

void ShardTable::update_oldest() const {
    const std::uint32_t head = shard_.by_use.head;
    shard_.oldest.store(head ? segment_.record(head).used : 0, std::memory_order_relaxed);
}

bool ShardTable::evict() const {
    std::uint32_t steps = 0;
    for (std::uint32_t i = shard_.by_use.head; i; i = segment_.record(i).used_next) {
        if (++steps > segment_.layout().records) fail_corrupted("the list by use has no end");
        if (pinned(segment_.record(i))) continue;
        retire(i);
        shard_.evicted.fetch_add(1, std::memory_order_relaxed);
        return true;
    }
    return false;
}

// --- expiry ---------------------------------------------------------------------------------------

bool ShardTable::expire(std::uint32_t index, std::int64_t now) const {
    const Record &record = segment_.record(index);
    if (!record.expires || record.expires > now) return false;
    retire(index);
    shard_.expired.fetch_add(1, std::memory_order_relaxed);
    return true;
}

void ShardTable::sweep(std::uint32_t budget) const {
    const std::int64_t earliest = shard_.earliest.load(std::memory_order_relaxed);
    if (!earliest) return;
    const std::int64_t now = monotonic_ns();
    if (now < earliest) return;
    if (shard_.expiring_count > segment_.layout().records)
        fail_corrupted("more entries expire than there are");
    // Some of what was left to look at may be gone.
    shard_.sweep_left = std::min(shard_.sweep_left, shard_.expiring_count);
    // Round and round: what stays goes to the end of the list, and after a round its earliest is known.
    for (; budget && shard_.sweep_left && shard_.expiring.head; --budget) {
        --shard_.sweep_left;
        const std::uint32_t index = shard_.expiring.head;
        if (expire(index, now)) continue;
        shard_.sweep_earliest = earlier(shard_.sweep_earliest, segment_.record(index).expires);
        remove(segment_, kExpiring, shard_.expiring.head, shard_.expiring.tail, index);
        append(segment_, kExpiring, shard_.expiring.head, shard_.expiring.tail, index);
    }
    if (shard_.sweep_left && shard_.expiring_count) return;
    shard_.earliest.store(shard_.expiring.head ? shard_.sweep_earliest : 0, std::memory_order_relaxed);
    shard_.sweep_earliest = 0;
    shard_.sweep_left = shard_.expiring_count;
}

void ShardTable::sweep_all() const {
    shard_.sweep_earliest = 0;
    shard_.sweep_left = shard_.expiring_count;
    sweep(shard_.expiring_count);
}

}  // namespace offgil::store::managed
