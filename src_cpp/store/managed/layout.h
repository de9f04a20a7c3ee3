// What lies in a segment of shared memory, byte by byte.
//
// === Truth and derived state ===
//
// A process may be killed between any two instructions, also while it holds a lock.  So as little as possible
// is *truth*, each piece of it changes by one atomic store, and all else is *derived* and can be rebuilt:
//
//   truth    Record::word (free / building / live / retired) and, while it is not free, the record's other
//            fields; group_owner (which shard a group of records belongs to); page_map (which shard a page
//            or a run of pages belongs to, and its size class); Topic, Header, ProcessSlot, WaiterSlot
//   derived  hash chains, free lists, lists by topic, by use and by expiry, ranks, page_bits, page_used,
//   counters
//
// Whoever next locks a mutex whose owner died rebuilds what it guards (repair.cpp, PageRuns::rebuild).  So
// does whoever finds a mutex marked as damaged: an error was thrown while it was held.
//
// === Zero means empty ===
//
// The segment is one sparse file.  Nothing is written at creation but the header and the mutexes, so an
// untouched part of a generous table costs no memory: 0 is "none" for each index, offset, time and state.
// Record 0 is never handed out, and offsets count from the start of the segment, where the header lies.
//
// === Lock order ===
//
// shard -> pages.  A thread holds at most one shard; only recount() takes all of them, in ascending order.
// Topics' lock is taken with no other lock held.
#pragma once

#include <pthread.h>

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace offgil::store::managed {

inline constexpr std::uint32_t kVersion = 2;
inline constexpr std::uint32_t kEndianMark = 0x01020304;
inline constexpr std::uint32_t kMaxShards = 64;
inline constexpr std::uint32_t kClasses = 32;
inline constexpr std::uint32_t kPriorities = 64;
inline constexpr std::uint32_t kTopics = 1024;      ///< topic 0 is None
inline constexpr std::uint32_t kProcesses = 256;    ///< one bit each in Record::pins
inline constexpr std::uint32_t kWaiters = 4096;     ///< callers parked at one time, in all processes
inline constexpr std::uint32_t kGroupRecords = 64;  ///< that a shard takes at a time: three pages of memory
inline constexpr std::uint32_t kInlineKey = 64;
inline constexpr std::uint32_t kMaxKey = 4096;
inline constexpr std::uint32_t kMaxTopic = 240;
inline constexpr std::uint64_t kUnit = 64;  ///< offsets in records count units, which keeps them in 32 bits
inline constexpr std::uint64_t kPage = 65536;  ///< of the data area
inline constexpr std::uint32_t kUnitsOfPage = kPage / kUnit;
inline constexpr std::uint64_t kSmallChunk = 32768;  ///< larger values get a run of whole pages
inline constexpr std::uint64_t kMaxSegment = kUnit << 32;

/// A robust, process-shared mutex; see robust_mutex.h.
struct Mutex {
    pthread_mutex_t native;
    std::atomic<std::uint32_t> damaged;  ///< an error left what it guards half changed; written under it
};

// --- records --------------------------------------------------------------------------------------

enum class State : std::uint8_t { Free, Building, Live, Retired };
enum class Kind : std::uint8_t { Value, Exception };

/// Record::word, unpacked.
struct Word {
    std::uint32_t generation;  ///< counts how often the record was freed
    State state;
    std::uint8_t kind;  ///< a Kind
    std::uint8_t codec;
    std::uint8_t priority;

    std::uint64_t pack() const {
        return std::uint64_t{generation} << 32 | std::uint64_t{static_cast<std::uint8_t>(state)} << 24 |
               std::uint64_t{kind} << 16 | std::uint64_t{codec} << 8 | priority;
    }
    static Word unpack(std::uint64_t bits) {
        return {static_cast<std::uint32_t>(bits >> 32), static_cast<State>(bits >> 24 & 0xff),
                static_cast<std::uint8_t>(bits >> 16), static_cast<std::uint8_t>(bits >> 8),
                static_cast<std::uint8_t>(bits)};
    }
};

/// One entry.  Guarded by the mutex of its shard, but for these:
///  - while Building, everything belongs to the process in `owner`, which writes the value with no lock held;
///  - while Live or Retired, the value's bytes and `length` never change, and whoever has its bit in `pins`
///    reads them without a lock.
struct alignas(64) Record {
    std::atomic<std::uint64_t> word;
    std::uint32_t hash;
    std::uint16_t key_length;
    std::uint16_t topic;
    std::uint64_t sequence;                    ///< order of publication in the whole store
    std::uint64_t length;                      ///< of the value, in bytes
    std::int64_t created;                      ///< monotonic ns
    std::int64_t expires;                      ///< monotonic ns, 0 for never
    std::uint32_t next;                        ///< derived: hash chain, or free list
    std::uint32_t units;                       ///< where key (if long) and value lie, 0 if there is no chunk
    std::uint32_t topic_next, topic_previous;  ///< derived
    std::uint32_t ttl_next, ttl_previous;      ///< derived: entries that expire
    std::uint32_t used_next, used_previous;    ///< derived: by time of use; only with Policy::Evict
    std::int64_t used;                         ///< monotonic ns of the last read or write, likewise
    std::uint32_t producer;                    ///< pid of the process that published it
    std::uint16_t owner;                       ///< process slot that builds it
    std::uint16_t reserved;
    std::atomic<std::uint64_t> pins[kProcesses / 64];  ///< processes that read the value now
    char key[kInlineKey];                              ///< a longer key lies in front of the value
};
static_assert(sizeof(Record) == 192 && offsetof(Record, ttl_next) == 64 && offsetof(Record, key) == 128,
              "a look-up touches the first and the third cache line only");
static_assert(sizeof(Record) * kGroupRecords % 4096 == 0, "groups share no page of memory");
static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "atomics must work between processes");

// --- shards ---------------------------------------------------------------------------------------

/// Free chunks of one size class; derived.
struct ClassList {
    std::uint32_t free;      ///< units of the last freed chunk, whose first 4 bytes hold the next one
    std::uint32_t bump;      ///< units of the next chunk that was never used
    std::uint32_t bump_end;  ///< first unit behind that page
};

/// A doubly linked list of records; derived.
struct RecordList {
    std::uint32_t head, tail;
};

/// A part of the table.  `lock` guards all of it, its buckets, its groups of records, its TopicLists and
/// ranks, and the chunks in pages that page_map gives to it.  The atomics are written under the lock and read
/// without: by stats(), by waiters, and by who looks which shard is worth locking.
struct alignas(64) Shard {
    Mutex lock;
    std::uint32_t free_record;
    std::atomic<std::uint32_t> entries;
    std::atomic<std::uint64_t> bytes;    ///< of live values
    std::atomic<std::uint64_t> version;  ///< grows whenever an entry may have come
    std::atomic<std::uint64_t> puts;     ///< not derived: one may be lost in a crash, as in the next three
    std::atomic<std::uint64_t> takes;
    std::atomic<std::uint64_t> expired;
    std::atomic<std::uint64_t> evicted;
    RecordList by_use;                   ///< least recently used first; only with Policy::Evict
    std::atomic<std::int64_t> oldest;    ///< Record::used of its head, 0 if empty
    RecordList expiring;                 ///< entries with a ttl, in no order
    std::atomic<std::int64_t> earliest;  ///< none of them expires before this; 0 if there are none
    std::int64_t sweep_earliest;         ///< likewise, of those that the sweep has passed
    std::uint32_t sweep_left;            ///< entries that it has yet to look at
    std::uint32_t expiring_count;
    std::uint32_t empty_pages;  ///< pages of this shard without a chunk in use
    ClassList classes[kClasses];
};

/// The live entries of one topic in one shard: a FIFO list for each priority.  Under the
/// shard's lock; derived.
struct alignas(64) TopicList {
    std::uint64_t levels;  ///< bit p: head[p] is not empty
    std::uint32_t head[kPriorities];
    std::uint32_t tail[kPriorities];
};

// --- topics and waiters ---------------------------------------------------------------------------

/// Open addressing on the name's hash.  Written once under Header::topic_lock; read without
/// once `ready` is set.
struct alignas(256) Topic {
    std::atomic<std::uint32_t> ready;
    std::uint32_t hash;
    std::uint32_t length;
    char name[kMaxTopic];
};
static_assert(sizeof(Topic) == 256);

/// Who waits for something: one bit per waiter slot.  All members are atomics, no lock.  Bits can be cleared
/// by anyone and twice, which is what makes a killed waiter harmless.
struct alignas(64) WaitSet {
    std::atomic<std::uint32_t> count;  ///< never less than the bits set, so 0 means nobody
    std::atomic<std::uint64_t> bits[kWaiters / 64];
};

/// One parked caller.  Whoever changes `owner` from 0 owns the slot; `word` is what it sleeps on.
struct alignas(64) WaiterSlot {
    std::atomic<std::uint32_t> word;
    std::atomic<std::uint32_t> owner;   ///< process slot + 1
    std::atomic<std::uint32_t> filter;  ///< hash of the awaited key
    std::atomic<std::uint32_t> waits;   ///< how many results it waits for; for stats()
    std::atomic<std::uint64_t> mask;  ///< of several keys: bit h for a hash whose top six bits are h; else 0
};
static_assert(sizeof(std::atomic<std::uint32_t>) == 4 && std::atomic<std::uint32_t>::is_always_lock_free,
              "a futex word is 32 bits");

/// One attached process.  Owned by whoever holds the byte lock on this slot's index in the
/// file (process.cpp).
struct ProcessSlot {
    std::atomic<std::uint32_t> used;  ///< 1 with its byte unlocked: the process died and is to be reaped
    std::atomic<std::uint32_t> pid;   ///< for messages, and to doubt a lock's owner (robust_mutex.cpp)
    std::atomic<std::uint64_t> pid_namespace;  ///< in which `pid` means something
};

// --- header ---------------------------------------------------------------------------------------

enum class SegmentState : std::uint32_t { Initialising, Ready, Closed };

/// What a put does that finds no room.
enum class Policy : std::uint32_t { Raise, Block, Evict };

/// Written before the segment is handed to anyone, read-only afterwards; all places follow
/// from it (class Layout).
struct Config {
    std::uint64_t data_bytes;    ///< a multiple of kPage
    std::uint32_t record_count;  ///< a multiple of kGroupRecords
    std::uint32_t max_entries;   ///< 0 for no bound but memory
    Policy policy;
    std::uint32_t named;  ///< 1: a file that others can find, on a file system that may run full
    std::uint64_t seed;   ///< of the key hash
};

struct Header {
    char magic[8];
    std::uint32_t version;
    std::uint32_t endian;
    std::uint64_t abi;  ///< abi_checksum() of the creator
    char boot_id[40];   ///< locks do not outlive a boot
    std::uint32_t uid;
    std::uint32_t reserved;
    Config config;
    std::atomic<SegmentState> state;
    std::atomic<std::uint32_t> waiter_high;  ///< no waiter slot at or above this was ever used
    std::atomic<std::uint32_t> repairs;      ///< locks taken over from a dead owner
    alignas(64) std::atomic<std::uint64_t> sequence;
    std::atomic<std::uint32_t> entries;                 ///< live ones; kept only with Config::max_entries
    std::atomic<std::uint32_t> recount;                 ///< 1: a crash may have made `entries` wrong
    alignas(64) std::atomic<std::uint32_t> group_hint;  ///< no free group of records below this
    alignas(64) Mutex page_lock;  ///< guards page_bits, the next two and the runs that start in page_map
    std::uint32_t page_hint;      ///< no free page below this; derived
    std::uint32_t backed_pages;   ///< of a named store: pages below this have memory
    alignas(64) Mutex topic_lock;
};
static_assert(sizeof(Header) <= 4096);

/// Changes with the size or order of anything above, so that builds that differ refuse each other.
constexpr std::uint64_t abi_checksum() {
    std::uint64_t sum = 0xcbf29ce484222325;
    for (std::uint64_t part :
         {sizeof(Header), offsetof(Header, config), offsetof(Header, state), offsetof(Header, page_lock),
          offsetof(Header, topic_lock), sizeof(Shard), offsetof(Shard, classes), sizeof(Record),
          offsetof(Record, units), offsetof(Record, used), offsetof(Record, pins), sizeof(TopicList),
          sizeof(Topic), sizeof(WaitSet), sizeof(WaiterSlot), sizeof(ProcessSlot), sizeof(pthread_mutex_t),
          std::size_t{kMaxShards}})
        sum = (sum ^ part) * 0x100000001b3;
    return sum;
}

// --- page map -------------------------------------------------------------------------------------

enum class PageKind : std::uint8_t { None, Slab, Run };

/// An entry of page_map, unpacked; the pages behind a run's first keep 0.
struct PageEntry {
    PageKind kind;
    std::uint8_t size_class;  ///< of a slab
    std::uint16_t shard;
    std::uint32_t pages;

    std::uint64_t pack() const {
        return std::uint64_t{pages} << 32 | std::uint64_t{shard} << 16 | std::uint64_t{size_class} << 8 |
               static_cast<std::uint8_t>(kind);
    }
    static PageEntry unpack(std::uint64_t bits) {
        return {static_cast<PageKind>(bits & 0xff), static_cast<std::uint8_t>(bits >> 8),
                static_cast<std::uint16_t>(bits >> 16), static_cast<std::uint32_t>(bits >> 32)};
    }
};

/// Size classes: 1 to 4 units, then four to each doubling.
constexpr std::uint32_t class_units(std::uint32_t size_class) {
    if (size_class < 4) return size_class + 1;
    return (5 + (size_class - 4) % 4) << ((size_class - 4) / 4);
}
constexpr std::uint32_t class_of(std::uint64_t bytes) {
    const auto units = static_cast<std::uint32_t>((bytes + kUnit - 1) / kUnit);
    if (units <= 4) return units - 1;
    const auto shift = static_cast<std::uint32_t>(std::bit_width(units - 1) - 3);
    return 4 + 4 * shift + ((units - 1) >> shift) - 4;
}
static_assert(class_units(kClasses - 1) * kUnit == kSmallChunk && class_of(kSmallChunk) == kClasses - 1);

// --- places ---------------------------------------------------------------------------------------

/// Where each table starts; computed from the Config by every process, never read from shared memory.
struct Layout {
    std::uint32_t shards, buckets, records, groups, pages;  ///< counts; buckets are per shard
    std::uint64_t at_processes, at_shards, at_buckets, at_group_owner, at_page_map, at_page_used,
        at_page_bits, at_shard_waits, at_topic_waits, at_room_waits, at_waiters, at_topics, at_ranks,
        at_topic_lists, at_records, at_data, total;

    explicit constexpr Layout(const Config &config)
        : records(config.record_count),
          groups(config.record_count / kGroupRecords),
          pages(static_cast<std::uint32_t>(config.data_bytes / kPage)) {
        // A shard has its own pages for each size class; in a small store fewer shards share them better.
        shards = std::bit_floor(pages / 64 ? pages / 64 : 1U);
        if (shards > kMaxShards) shards = kMaxShards;
        buckets = std::bit_ceil(records / shards ? records / shards : 1U);
        std::uint64_t end = 4096;
        auto place = [&end](std::uint64_t bytes) {
            const std::uint64_t start = end;
            end = (end + bytes + 4095) / 4096 * 4096;
            return start;
        };
        at_processes = place(sizeof(ProcessSlot) * kProcesses);
        at_shards = place(sizeof(Shard) * shards);
        at_buckets = place(std::uint64_t{4} * buckets * shards);
        at_group_owner = place(groups);
        at_page_map = place(std::uint64_t{8} * pages);
        at_page_used = place(std::uint64_t{4} * pages);
        at_page_bits = place((pages + 63) / 64 * 8);
        at_shard_waits = place(sizeof(WaitSet) * shards);
        at_topic_waits = place(sizeof(WaitSet) * kTopics);
        at_room_waits = place(sizeof(WaitSet));
        at_waiters = place(sizeof(WaiterSlot) * kWaiters);
        at_topics = place(sizeof(Topic) * kTopics);
        // From here on sparse, and most of it is never touched.
        at_ranks = place(std::uint64_t{8} * kMaxShards * kTopics);
        at_topic_lists = place(sizeof(TopicList) * shards * kTopics);
        at_records = place(sizeof(Record) * std::uint64_t{records});
        at_data = (end + kPage - 1) / kPage * kPage;
        total = at_data + config.data_bytes;
    }
};

}  // namespace offgil::store::managed
