// One shard of the table: records, hash chains, lists and the memory of values.
//
// A ShardTable is a view that a holder of the shard's lock makes on its stack; all of its methods need that
// lock. Each of them leaves the truth (layout.h) consistent after every single store, in whatever order the
// compiler and the processor let them become visible to a later holder: the kernel's hand-over of a dead
// owner's lock orders them.
//
// Its files: table.cpp finds records and leads them through their lives, lists.cpp keeps the orders by topic,
// use and expiry, chunks.cpp has the memory of values, repair.cpp makes all that is derived anew.
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

/// What a record gets when it is published.
struct Publication {
    std::uint8_t codec = 0;
    Kind kind = Kind::Value;
    std::uint8_t priority = 0;
    std::uint16_t topic = 0;
    std::int64_t lifetime = 0;  ///< ns, 0 for ever
    std::uint32_t producer = 0;
};

class ShardTable {
  public:
    ShardTable(const Segment &segment, std::uint32_t index)
        : segment_(segment), pages_(segment), index_(index), shard_(segment.shard(index)) {}

    /// The live record of `key`, or 0.  One that has expired is removed.
    std::uint32_t find(std::uint32_t hash, std::string_view key) const;
    /// The first live record of `topic` in this shard, or 0; likewise.
    std::uint32_t first(std::uint32_t topic) const;

    /// Takes a free record out of its list and gives it memory for `key` and `length` bytes of value.  It
    /// stays Free or, with `building`, belongs to process slot `owner` from then on.
    Room reserve(std::uint32_t hash, std::string_view key, std::uint64_t length, Mode mode, bool building,
                 std::uint16_t owner, std::uint32_t &record) const;
    /// Gives back what reserve() took.
    void abandon(std::uint32_t record) const;
    /// Makes a reserved record live in place of `existing` (0 for none).  Room::Crowded, with nothing
    /// changed, if that were one entry too many.
    Room publish(std::uint32_t record, std::uint32_t existing, const Publication &publication) const;
    /// Removes a live record; its memory is freed once nobody has it pinned.
    void retire(std::uint32_t record) const;
    /// Frees a retired record if it is not pinned.
    void collect(std::uint32_t record) const;

    void pin(std::uint32_t record, std::uint32_t process) const;
    void unpin(std::uint32_t record, std::uint32_t process) const;
    /// Notes that a live record was read.
    void touch(std::uint32_t record) const;

    std::byte *value(const Record &record) const;
    std::string_view key(const Record &record) const;
    /// Throws Error(Corrupted) unless the value lies in a chunk of this shard.
    void check(const Record &record) const;

    /// Removes what has expired, among at most `budget` entries.
    void sweep(std::uint32_t budget) const;
    void sweep_all() const;
    /// Removes the least recently used entry that is not pinned; false if there is none.
    bool evict() const;
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
    void enlist(std::uint32_t record) const;
    void delist(std::uint32_t record) const;
    bool expire(std::uint32_t record, std::int64_t now) const;
    void update_rank(std::uint32_t topic) const;
    void update_oldest() const;
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
/// Counts the entries of a store with max_entries anew.
void recount(const Segment &segment);

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
