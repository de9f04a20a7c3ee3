// One shard of the table: records, hash chains, topic lists and the memory of values.
//
// A ShardTable is a view that a holder of the shard's lock makes on its stack; all of its methods need that
// lock. Each of them leaves the truth (layout.h) consistent after every single store, in whatever order the
// compiler and the processor let them become visible to a later holder: the kernel's hand-over of a dead
// owner's lock orders them.
#pragma once

#include <string_view>

#include "store/managed/pages.h"
#include "store/managed/segment.h"

namespace offgil::store::managed {

/// What a taker compares: higher priority first, then the lower sequence.  0 is below everything.
constexpr std::uint64_t rank_of(std::uint8_t priority, std::uint64_t sequence) {
    constexpr std::uint64_t mask = (std::uint64_t{1} << 58) - 1;
    return std::uint64_t{priority} << 58 | (mask - (sequence & mask));
}

class ShardTable {
  public:
    ShardTable(const Segment &segment, std::uint32_t index)
        : segment_(segment), pages_(segment), index_(index), shard_(segment.shard(index)) {}

    /// The live record of `key`, or 0.
    std::uint32_t find(std::uint32_t hash, std::string_view key) const;
    /// The first live record of `topic` in this shard, or 0.
    std::uint32_t first(std::uint32_t topic) const;

    /// Takes a free record out of its list and gives it memory for `key` and `length` bytes of value.  It
    /// stays Free or, with `building`, belongs to process slot `owner` from then on.
    Room reserve(std::uint32_t hash, std::string_view key, std::uint64_t length, Mode mode, bool building,
                 std::uint16_t owner, std::uint32_t &record) const;
    /// Gives back what reserve() took.
    void abandon(std::uint32_t record) const;
    /// Makes a reserved record live in place of `existing` (0 for none).
    void publish(std::uint32_t record, std::uint32_t existing, std::uint8_t codec, std::uint8_t priority,
                 std::uint16_t topic) const;
    /// Removes a live record; its memory is freed once nobody has it pinned.
    void retire(std::uint32_t record) const;
    /// Frees a retired record if it is not pinned.
    void collect(std::uint32_t record) const;

    void pin(std::uint32_t record, std::uint32_t process) const;
    void unpin(std::uint32_t record, std::uint32_t process) const;

    std::byte *value(const Record &record) const;
    std::string_view key(const Record &record) const;

    /// Gives pages without a chunk in use back, for other shards and sizes.
    void trim() const;
    /// Makes all derived state anew from the truth (repair.cpp).
    void rebuild() const;
    /// Forgets a dead process: its pins, and what it was building.
    void forget(std::uint32_t process) const;

    template <typename Visit>
    void each_record(Visit &&visit) const {
        for (std::uint32_t group = 0; group < segment_.layout().groups; ++group) {
            if (segment_.group_owner(group).load(std::memory_order_relaxed) != index_ + 1) continue;
            const std::uint32_t first = group * kGroupRecords;
            for (std::uint32_t i = first ? first : 1; i < first + kGroupRecords; ++i)
                visit(i, segment_.record(i));
        }
    }

  private:
    std::uint32_t take_record() const;
    void free_record(std::uint32_t record) const;
    void chain(std::uint32_t record) const;
    void unchain(std::uint32_t record) const;
    void enqueue(std::uint32_t record) const;
    void dequeue(std::uint32_t record) const;
    void update_rank(std::uint32_t topic) const;
    Room allocate(std::uint64_t bytes, Mode mode, std::uint32_t &units) const;
    std::uint32_t take_chunk(std::uint32_t size_class) const;
    void free_chunk(std::uint32_t units) const;
    void push_chunk(std::uint32_t size_class, std::uint32_t units) const;
    void rebuild_memory() const;
    std::uint32_t bucket_of(std::uint32_t hash) const {
        return (hash >> 6) & (segment_.layout().buckets - 1);
    }

    const Segment &segment_;
    PageRuns pages_;
    std::uint32_t index_;
    Shard &shard_;
};

/// Takes a shard's lock; if its owner died, rebuilds the shard first (repair.cpp).
LockMutex lock_shard(const Segment &segment, std::uint32_t shard, Mode mode);

inline Word word_of(const Record &record) {
    return Word::unpack(record.word.load(std::memory_order_acquire));
}

/// Bytes in front of a value that a key too long for the record takes; keeps the value aligned.
constexpr std::uint64_t key_prefix(std::uint32_t key_length) {
    return key_length <= kInlineKey ? 0 : (key_length + kUnit - 1) / kUnit * kUnit;
}

inline bool pinned(const Record &record) {
    for (const auto &pins : record.pins)
        if (pins.load(std::memory_order_acquire)) return true;
    return false;
}

}  // namespace offgil::store::managed
