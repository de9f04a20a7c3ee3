// The managed-dict store: one handle of a process on a table in shared memory.
//
// Every method may be called from any thread.  A value up to kSmallValue bytes is copied under the lock of
// its shard: 4 KiB take some 50 ns, less than taking the lock a second time and detaching.  A larger one is
// copied with no lock held: into a record that is Building and belongs to this process, or out of one that
// this process has pinned.
//
// Its files: store.cpp puts, finds and removes; store_hold.cpp is about values that stay in shared memory;
// store_room.cpp makes room; store_wait.cpp waits; store_report.cpp describes.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "store/managed/process.h"
#include "store/managed/robust_mutex.h"

namespace offgil::store::managed {

inline constexpr std::uint64_t kSmallValue = 4096;

/// What became of an operation.
enum class Outcome {
    Done,
    Absent,       ///< no such key or no entry in the topic, also not until the deadline
    Exists,       ///< put with if_absent found a value
    Busy,         ///< Mode::Try would have had to wait; nothing was changed
    Interrupted,  ///< the Interrupt said so
};

inline constexpr std::int64_t kNoDeadline = INT64_MAX;

/// Asked whenever a wait has slept a slice or was hit by a signal; true ends the wait.
struct Interrupt {
    bool (*check)(void *) = nullptr;
    void *context = nullptr;
    std::int64_t slice_ns = 250'000'000;  ///< bounds what a wake-up lost with a killed publisher costs
};

/// How long an operation may wait.
struct Patience {
    std::int64_t deadline = kNoDeadline;  ///< monotonic ns
    Interrupt interrupt{};
};

/// All of an entry but its value.
struct EntryRequest {
    std::string_view key;
    std::uint8_t codec = 0;
    Kind kind = Kind::Value;
    std::uint8_t priority = 0;
    std::optional<std::string_view> topic{};
    std::int64_t lifetime = 0;  ///< ns, 0 for ever
    bool if_absent = false;
};

/// Where take() writes what it is about to remove, so that whoever watches over the taker knows, if it dies,
/// which entry went with it: the claim is set before the entry is gone, so what a dead taker was handing out
/// is in its claim, or still in the store.  Lies in memory that the two share; atomics, read at any time.
struct Claim {
    std::atomic<std::uint64_t> number;  ///< the key, read as hexadecimal digits; 0 for any other key
    std::atomic<std::int64_t> since;    ///< monotonic ns, of before `number` was written
};
static_assert(sizeof(Claim) == 16 && std::atomic<std::uint64_t>::is_always_lock_free,
              "Python reads and writes a claim as two words of 8 bytes");

/// The value's bytes: these parts, one after the other.
using Parts = std::span<const std::span<const std::byte>>;

/// A value that was found: a copy of a small one, else a pinned range of shared memory.
class Fetched {
  public:
    Fetched() = default;
    ~Fetched() { release(); }
    Fetched(const Fetched &) = delete;
    Fetched &operator=(const Fetched &) = delete;

    std::uint8_t codec() const { return codec_; }
    Kind kind() const { return kind_; }
    std::span<const std::byte> value() const { return {data_, size_}; }
    bool is_pinned() const { return process_ != nullptr; }
    /// Ends the pin; takes the shard's lock if there is one.
    void release();
    /// Hands the pin over to an object that may outlive this one and be dropped anywhere.
    HeldPointer keep();

  private:
    friend class Store;
    std::uint8_t codec_ = 0;
    Kind kind_ = Kind::Value;
    std::size_t size_ = 0;
    std::byte *data_ = nullptr;
    std::shared_ptr<Process> process_;
    std::uint32_t shard_ = 0;
    std::uint32_t record_ = 0;
    alignas(64) std::array<std::byte, kSmallValue> copy_;
};

struct Stats {
    std::uint64_t entries, bytes_used, bytes_limit, puts, takes, waiters, entries_limit, blocked, expired,
        evicted, processes, repairs;
    /// Bytes of whole pages in use: by values, and by what was removed while somebody looks at it.
    std::uint64_t memory_used;
};

/// What a snapshot says about one entry.
struct EntryReport {
    std::string key;
    std::optional<std::string> topic;
    bool building;
    std::uint8_t codec;
    Kind kind;
    std::uint8_t priority;
    std::uint64_t length;
    std::int64_t age, lifetime;  ///< ns; of lifetime what is left, 0 for ever
    std::uint32_t producer, pins;
};

class Store {
  public:
    /// `creator`: closing this handle closes the store for every process.
    Store(std::shared_ptr<Process> process, bool creator);

    /// Throws Error(Full), leaving the old value, or Error(Closed), Error(KeyTooLong).
    Outcome put(const EntryRequest &request, Parts value, Mode mode = Mode::Wait,
                const Patience &patience = {});
    /// Memory for a value of `length` bytes, to be filled and published by commit(); else it is dropped.
    Outcome reserve(std::string_view key, std::uint64_t length, HeldPointer &out,
                    const Patience &patience = {});
    Outcome commit(const EntryRequest &request, Held &held, const Patience &patience = {});

    /// Finds a value and, with `consume`, removes it.  `hold`: also a small one stays where it is.
    Outcome get(std::string_view key, bool consume, Fetched &out, Mode mode = Mode::Wait, bool hold = false);
    /// The same, waiting for it.
    Outcome wait(std::string_view key, bool consume, Fetched &out, const Patience &patience = {});
    /// Removes the first entry of a topic.
    Outcome take(std::optional<std::string_view> topic, std::string &key, Fetched &out,
                 Mode mode = Mode::Wait, Claim *claim = nullptr);
    Outcome take_wait(std::optional<std::string_view> topic, std::string &key, Fetched &out,
                      const Patience &patience = {}, Claim *claim = nullptr);
    Outcome contains(std::string_view key, Mode mode = Mode::Wait);
    Outcome remove(std::string_view key, Mode mode = Mode::Wait);

    std::vector<std::string> keys();
    /// Entries, without those that have expired.
    std::uint64_t size();
    void clear();
    Stats stats() const;
    /// Shard by shard: entries of one shard are seen at one instant.
    std::vector<EntryReport> snapshot();
    /// Pids of the attached processes, as each of them sees itself.
    std::vector<std::uint32_t> processes();

    /// Ends this handle, or the store for everybody if it is the creator's, and wakes the waiters concerned.
    void close();
    /// Ends the store for everybody.
    void shut_down();
    bool closed() const;
    int fd() const { return segment_.fd(); }
    const Segment &segment() const { return segment_; }
    const std::shared_ptr<Process> &process() const { return process_; }
    void check_open() const;
    std::uint32_t checked_hash(std::string_view key) const;

  private:
    bool prepare(Mode mode);
    std::uint32_t shard_of(std::uint32_t hash) const { return hash % segment_.layout().shards; }
    Room put_small(const EntryRequest &request, Parts value, std::uint64_t length, std::uint32_t hash,
                   std::uint32_t topic, Mode mode, Outcome &outcome);
    Publication publication_of(const EntryRequest &request, std::uint32_t topic) const;
    void notify(std::uint32_t hash, std::uint32_t topic) const;
    void sweep_another() const;
    /// To be called when `attempt` found no room for that reason: calls it until it does, or throws
    /// Error(Full); false if interrupted.
    bool find_room(Room reason, std::uint64_t length, std::uint32_t shard, const Patience &patience,
                   const std::function<Room()> &attempt);
    void make_room();
    bool evict_for(Room reason, bool large, std::uint32_t shard);
    [[noreturn]] void fail_full(Room reason, std::uint64_t length, const char *when) const;
    void fetch(const ShardTable &shard, std::uint32_t shard_index, std::uint32_t record, bool consume,
               bool hold, Fetched &out);
    std::uint64_t best(std::uint32_t topic, std::uint32_t &shard) const;
    Outcome take_from(std::uint32_t topic, std::string &key, Fetched &out, Mode mode, Claim *claim);
    template <typename Attempt>
    Outcome wait_for(WaitSet &set, std::uint32_t filter, const Patience &patience, Attempt &&attempt);

    std::shared_ptr<Process> process_;
    const Segment &segment_;
    std::uint32_t creator_pid_;  ///< 0 unless made by the creator; a child of fork() is not the creator
    std::atomic<bool> closed_{false};
};

}  // namespace offgil::store::managed
