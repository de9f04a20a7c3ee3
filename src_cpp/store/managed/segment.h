// One segment of shared memory: made, verified, mapped.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string_view>

#include "store/managed/error.h"
#include "store/managed/layout.h"

namespace offgil::store::managed {

/// A mapping of the segment and typed access to what lies in it.  Each index is checked against the
/// layout, which comes from the verified header, because most of them were read from memory that another
/// process may have damaged.
///
/// The mapping goes when the last user does.  No thread can be inside a mutex operation on it then (each call
/// holds a reference), so the kernel has no pending robust-list entry that points into the gap.
class Segment {
  public:
    /// A fresh segment: anonymous memory, or the empty file `named_fd`, which it takes over.  `max_entries`:
    /// 0 for no bound but memory.  Throws Error(Unavailable) with the system's reason.
    static std::shared_ptr<Segment> create(std::uint64_t max_bytes, std::uint32_t max_entries,
                                           Policy policy = Policy::Raise, int named_fd = -1);
    /// Maps and verifies the segment behind `fd`, which it takes over.  Throws Error(Corrupted).
    static std::shared_ptr<Segment> attach(int fd);
    ~Segment();
    Segment(const Segment &) = delete;
    Segment &operator=(const Segment &) = delete;

    int fd() const { return fd_; }
    /// Whether `fd` is this segment's file.
    bool is(int fd) const;
    const Layout &layout() const { return layout_; }
    const Config &config() const { return config_; }
    std::uint64_t data_bytes() const { return layout_.total - layout_.at_data; }

    Header &header() const { return *at<Header>(0); }
    ProcessSlot &process(std::uint32_t i) const {
        return item<ProcessSlot>(layout_.at_processes, i, kProcesses);
    }
    Shard &shard(std::uint32_t i) const { return item<Shard>(layout_.at_shards, i, layout_.shards); }
    std::uint32_t &bucket(std::uint32_t shard, std::uint32_t i) const {
        return item<std::uint32_t>(layout_.at_buckets, shard * layout_.buckets + i,
                                   layout_.buckets * layout_.shards);
    }
    std::atomic<std::uint8_t> &group_owner(std::uint32_t i) const {
        return item<std::atomic<std::uint8_t>>(layout_.at_group_owner, i, layout_.groups);
    }
    std::atomic<std::uint64_t> &page_map(std::uint32_t i) const {
        return item<std::atomic<std::uint64_t>>(layout_.at_page_map, i, layout_.pages);
    }
    std::uint32_t &page_used(std::uint32_t i) const {
        return item<std::uint32_t>(layout_.at_page_used, i, layout_.pages);
    }
    std::uint64_t &page_bits(std::uint32_t i) const {
        return item<std::uint64_t>(layout_.at_page_bits, i, (layout_.pages + 63) / 64);
    }
    Topic &topic(std::uint32_t i) const { return item<Topic>(layout_.at_topics, i, kTopics); }
    std::atomic<std::uint64_t> &rank(std::uint32_t topic, std::uint32_t shard) const {
        return item<std::atomic<std::uint64_t>>(layout_.at_ranks, topic * kMaxShards + shard,
                                                kTopics * kMaxShards);
    }
    TopicList &topic_list(std::uint32_t topic, std::uint32_t shard) const {
        return item<TopicList>(layout_.at_topic_lists, topic * layout_.shards + shard,
                               kTopics * layout_.shards);
    }
    WaitSet &shard_waits(std::uint32_t i) const {
        return item<WaitSet>(layout_.at_shard_waits, i, layout_.shards);
    }
    WaitSet &topic_waits(std::uint32_t i) const { return item<WaitSet>(layout_.at_topic_waits, i, kTopics); }
    WaitSet &room_waits() const { return *at<WaitSet>(layout_.at_room_waits); }
    WaiterSlot &waiter(std::uint32_t i) const { return item<WaiterSlot>(layout_.at_waiters, i, kWaiters); }
    Record &record(std::uint32_t i) const { return item<Record>(layout_.at_records, i, layout_.records); }

    /// Memory of the data area.  Throws Error(Corrupted) unless all of it lies inside.
    std::byte *data(std::uint32_t units, std::uint64_t bytes) const {
        const std::uint64_t offset = units * kUnit;
        if (offset < layout_.at_data || offset > layout_.total || bytes > layout_.total - offset)
            fail_corrupted("a value lies outside the segment");
        return base_ + offset;
    }
    std::uint32_t page_of(std::uint32_t units) const {
        data(units, 1);
        return static_cast<std::uint32_t>((units * kUnit - layout_.at_data) / kPage);
    }
    std::uint32_t units_of_page(std::uint32_t page) const {
        return static_cast<std::uint32_t>((layout_.at_data + page * kPage) / kUnit);
    }

    std::uint32_t hash(std::string_view key) const;

    /// Makes sure that a part of the segment that nobody has touched yet has memory.  A write to a file
    /// on a full file system is a SIGBUS; this is where it is found out instead.  False if there is none.
    bool back(std::uint64_t offset, std::uint64_t bytes) const;
    bool back_group(std::uint32_t group) const {
        return back(layout_.at_records + sizeof(Record) * kGroupRecords * std::uint64_t{group},
                    sizeof(Record) * kGroupRecords);
    }
    bool back_pages(std::uint32_t first, std::uint32_t count) const {
        return back(layout_.at_data + kPage * first, kPage * count);
    }
    bool back_topic(std::uint32_t topic) const {
        return back(layout_.at_ranks + 8 * kMaxShards * std::uint64_t{topic}, 8 * kMaxShards) &&
               back(layout_.at_topic_lists + sizeof(TopicList) * layout_.shards * std::uint64_t{topic},
                    sizeof(TopicList) * layout_.shards);
    }

  private:
    Segment(int fd, std::byte *base, const Config &config)
        : fd_(fd), base_(base), layout_(config), config_(config) {}

    template <typename T>
    T *at(std::uint64_t offset) const {
        return reinterpret_cast<T *>(base_ + offset);
    }
    template <typename T>
    T &item(std::uint64_t table, std::uint32_t i, std::uint32_t count) const {
        if (i >= count) [[unlikely]]
            fail_corrupted("an index is out of range");
        return at<T>(table)[i];
    }

    int fd_;
    std::byte *base_;
    Layout layout_;
    Config config_;  ///< as verified; the header's may be damaged since
};

}  // namespace offgil::store::managed
