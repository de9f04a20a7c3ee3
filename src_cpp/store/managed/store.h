// The managed-dict store: one handle of a process on a table in shared memory.
//
// Every method may be called from any thread.  A value up to kSmallValue bytes is copied under the lock of
// its shard: 4 KiB take some 50 ns, less than taking the lock a second time and detaching.  A larger one is
// copied with no lock held: into a record that is Building and belongs to this process, or out of one that
// this process has pinned.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
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

struct PutRequest {
    std::string_view key;
    std::uint8_t codec = 0;
    std::span<const std::byte> head{};  ///< the value is head and then body
    std::span<const std::byte> body{};
    std::uint8_t priority = 0;
    std::optional<std::string_view> topic{};
    bool if_absent = false;
};

/// Asked whenever a wait has slept a slice or was hit by a signal; true ends the wait.
struct Interrupt {
    bool (*check)(void *) = nullptr;
    void *context = nullptr;
    std::int64_t slice_ns = 250'000'000;  ///< bounds what a wake-up lost with a killed publisher costs
};

/// A value that was found: a copy of a small one, else a pinned range of shared memory.
class Fetched {
  public:
    Fetched() = default;
    ~Fetched() { release(); }
    Fetched(const Fetched &) = delete;
    Fetched &operator=(const Fetched &) = delete;

    std::uint8_t codec() const { return codec_; }
    std::span<const std::byte> value() const { return {data_, size_}; }
    bool is_pinned() const { return process_ != nullptr; }
    /// Ends the pin; takes the shard's lock if there is one.
    void release();

  private:
    friend class Store;
    std::uint8_t codec_ = 0;
    std::size_t size_ = 0;
    const std::byte *data_ = nullptr;
    Process *process_ = nullptr;
    std::uint32_t shard_ = 0;
    std::uint32_t record_ = 0;
    alignas(64) std::array<std::byte, kSmallValue> copy_;
};

struct Stats {
    std::uint64_t entries, bytes_used, bytes_limit, puts, takes, waiters, repairs;
};

inline constexpr std::int64_t kNoDeadline = INT64_MAX;

class Store {
  public:
    /// `creator`: closing this handle closes the store for every process.
    Store(std::shared_ptr<Process> process, bool creator);

    /// Throws Error(Full), leaving the old value, or Error(Closed), Error(KeyTooLong).
    Outcome put(const PutRequest &request, Mode mode = Mode::Wait);
    /// Finds a value and, with `consume`, removes it.
    Outcome get(std::string_view key, bool consume, Fetched &out, Mode mode = Mode::Wait);
    /// The same, waiting for it until `deadline` (monotonic ns).
    Outcome wait(std::string_view key, bool consume, Fetched &out, std::int64_t deadline,
                 Interrupt interrupt = {});
    /// Removes the first entry of a topic.
    Outcome take(std::optional<std::string_view> topic, std::string &key, Fetched &out,
                 Mode mode = Mode::Wait);
    Outcome take_wait(std::optional<std::string_view> topic, std::string &key, Fetched &out,
                      std::int64_t deadline, Interrupt interrupt = {});
    Outcome contains(std::string_view key, Mode mode = Mode::Wait);
    Outcome remove(std::string_view key, Mode mode = Mode::Wait);

    std::vector<std::string> keys();
    void clear();
    std::uint64_t size();
    Stats stats() const;

    /// Ends this handle, or the store for everybody if it is the creator's, and wakes the waiters concerned.
    void close();
    bool closed() const;
    int fd() const { return segment_.fd(); }
    const Segment &segment() const { return segment_; }

  private:
    void check_open() const;
    std::uint32_t checked_hash(std::string_view key) const;
    bool prepare(Mode mode);
    Outcome put_small(const PutRequest &request, std::uint32_t hash, std::uint32_t topic, Mode mode,
                      Room &room);
    Outcome put_large(const PutRequest &request, std::uint32_t hash, std::uint32_t topic, Room &room);
    void make_room();
    void fetch(const ShardTable &shard, std::uint32_t shard_index, std::uint32_t record, bool consume,
               Fetched &out);
    std::uint64_t best(std::uint32_t topic, std::uint32_t &shard) const;
    Outcome take_from(std::uint32_t topic, std::string &key, Fetched &out, Mode mode);
    template <typename Attempt>
    Outcome wait_for(WaitSet &set, std::uint32_t filter, std::int64_t deadline, const Interrupt &interrupt,
                     Attempt &&attempt);

    std::shared_ptr<Process> process_;
    const Segment &segment_;
    std::uint32_t creator_pid_;  ///< 0 unless made by the creator; a child of fork() is not the creator
    std::atomic<bool> closed_{false};
};

}  // namespace offgil::store::managed
