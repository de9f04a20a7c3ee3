// Topics: where takers park, and the hint that says which shards hold entries of a topic.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "store/shared/fifo.h"

namespace offgil::store {

template <class V>
class Waiter;

/// One topic.  Its entries lie in the shards of their keys; only what all shards share is here.
template <class V>
struct Topic {
    /// Bit s is set before an entry of this topic in shard s can be seen, and cleared only under shard s's
    /// lock by a taker that found none there.  So a clear bit is the truth and a set one a hint: puts and
    /// pops that come and go in one shard do not touch this cache line.
    std::atomic<std::uint64_t> shards{0};

    /// Guards `takers`.  May be taken with shard locks held, never the other way round.
    alignas(64) std::mutex lock;
    Fifo<Waiter<V>, &Waiter<V>::links> takers;  ///< guarded by lock; parked longest first
    std::atomic<std::uint32_t> parked{
        0};  ///< length of `takers`; written under lock, read by every put without it

    std::size_t refs = 0;  ///< guarded by the directory's lock; unused in the topic without a name
    std::string name;      ///< immutable
};

template <class V>
class Topics;

/// Keeps a topic alive.  Its destructor may take the directory's lock, so it runs with no lock held.
template <class V>
class TopicRef {
  public:
    TopicRef(Topic<V> *topic, Topics<V> *owner) noexcept : topic_(topic), owner_(owner) {}
    TopicRef(TopicRef &&other) noexcept
        : topic_(std::exchange(other.topic_, nullptr)), owner_(std::exchange(other.owner_, nullptr)) {}
    TopicRef &operator=(TopicRef &&) = delete;
    ~TopicRef() {
        if (owner_) owner_->release(*topic_);
    }

    Topic<V> &operator*() const noexcept { return *topic_; }
    Topic<V> *operator->() const noexcept { return topic_; }
    bool named() const noexcept { return owner_ != nullptr; }

  private:
    Topic<V> *topic_;
    Topics<V> *owner_;  ///< null for the topic without a name, which lives as long as the table
};

/// All topics of a table by name.  A name lives while entries or takers refer to it, so that a program may
/// use a topic for each request without the table growing.
///
/// Thread-safety: every member may be called from any thread.  Each bucket's lock guards its map and the
/// `refs` of the topics in it.  Of the table's locks only Topic::lock may be taken while one is held
/// (for_each does).
template <class V>
class Topics {
  public:
    TopicRef<V> acquire(std::optional<std::string_view> name) {
        if (!name) return {&nameless_, nullptr};
        Bucket &b = bucket_of(*name);
        const std::lock_guard hold(b.lock);
        auto [it, added] = b.topics.try_emplace(std::string(*name));
        if (added) it->second.name = *name;
        ++it->second.refs;
        return {&it->second, this};
    }

    void release(Topic<V> &topic) noexcept {
        Bucket &b = bucket_of(topic.name);
        const std::lock_guard hold(b.lock);
        if (--topic.refs == 0) b.topics.erase(b.topics.find(topic.name));
    }

    template <class Fn>
    void for_each(Fn &&fn) {
        fn(nameless_);
        for (Bucket &b : buckets_) {
            const std::lock_guard hold(b.lock);
            for (auto &[name, topic] : b.topics) fn(topic);
        }
    }

  private:
    struct alignas(64) Bucket {
        std::mutex lock;
        std::unordered_map<std::string, Topic<V>>
            topics;  ///< its nodes do not move, so pointers to topics hold
    };

    Bucket &bucket_of(std::string_view name) noexcept {
        return buckets_[std::hash<std::string_view>{}(name) % buckets_.size()];
    }

    Topic<V> nameless_;
    std::array<Bucket, 16> buckets_;
};

}  // namespace offgil::store
