// Many keys awaited at once, in one sleep: what is behind as_completed().
#pragma once

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "store/shared/table.h"

namespace offgil::store {

/// A waiter for each key and a queue of those that have their result.
///
/// Locking: `lock_` guards `arrived_` and `sleeper_`, and is taken by publishers with no other lock held. The
/// rest belongs to the one thread at a time that calls start(), next() and stop(); stop() must be called at
/// the end.  A linked member keeps the group alive, so a publisher that is late finds it.
template <class V>
class KeyGroup : public std::enable_shared_from_this<KeyGroup<V>> {
  public:
    explicit KeyGroup(SharedTable<V> &table) : table_(table) {}

    /// Begins to wait for the keys; a key that is given twice counts once, where it comes first.
    Status start(std::vector<OwnedKey> keys) {
        HashIndex<Seen> index;
        std::vector<Seen> seen;
        seen.reserve(keys.size());
        std::vector<Member *> found;
        keys_ = std::move(keys);
        members_ = std::vector<Member>(keys_.begin(), keys_.end());
        for (Member &member : members_) {
            if (index.find(member)) continue;
            index.reserve_one();
            index.insert(&seen.emplace_back(member.name, member.hash));
            member.group = this->shared_from_this();
            const Status status = table_.watch(member);
            if (status != Status::absent) member.group.reset();
            if (status == Status::closed) return status;
            ++missing_;
            if (status == Status::ok) found.push_back(&member);
        }
        // What was there already comes in the order in which it was put.
        std::ranges::sort(found, {}, [](const Member *member) { return member->order; });
        const std::lock_guard hold(lock_);
        for (auto member = found.rbegin(); member != found.rend(); ++member) arrived_.push_first(*member);
        return Status::ok;
    }

    /// How many keys have not been handed out.
    std::size_t missing() const noexcept { return missing_; }

    /// The next arrival: the position of its key among those of start(), and its value.  `absent`: none
    /// before `sleep` gave up.  Not to be called when none is missing.
    template <class Sleep>
    Status next(std::size_t &position, V &value, Sleep &&sleep) {
        for (;;) {
            Parker parker;
            Waiter<V> *first = nullptr;
            {
                const std::lock_guard hold(lock_);
                first = arrived_.pop();
                if (!first) sleeper_ = &parker;
            }
            if (first) {
                if (first->closed) return Status::closed;
                --missing_;
                position = static_cast<std::size_t>(static_cast<Member *>(first) - members_.data());
                value = std::move(*first->copy);
                return Status::ok;
            }
            if (sleep(parker)) continue;
            {
                const std::lock_guard hold(lock_);
                if (std::exchange(sleeper_, nullptr)) return Status::absent;
            }
            // A publisher is on its way to wake(): a few instructions, which it does not interrupt.
            while (!parker.park_until(kNever)) continue;
        }
    }

    /// Withdraws what still waits.
    void stop() noexcept {
        for (Member &member : members_)
            if (table_.unwatch(member)) member.group.reset();
    }

    /// Calls `fn(const V &)` for each result that has not been handed out, without a lock: for a caller that
    /// knows that no other thread is inside.
    template <class Fn>
    void visit(Fn &&fn) const {
        for (const Member &member : members_)
            if (member.copy) fn(*member.copy);
    }

  private:
    struct Seen {
        Seen(std::string_view n, std::size_t h) noexcept : name(n), hash(h) {}
        std::string_view name;
        std::size_t hash;
        Seen *next_in_bucket = nullptr;
    };

    struct Member final : Waiter<V> {
        Member(const OwnedKey &key) : Waiter<V>(key.view(), Waiter<V>::Wants::copy) {}
        void deliver() noexcept override { std::exchange(group, nullptr)->arrive(this); }
        std::shared_ptr<KeyGroup> group;  ///< set while linked, and until delivered
    };

    void arrive(Member *member) noexcept {
        Parker *sleeper = nullptr;
        {
            const std::lock_guard hold(lock_);
            arrived_.push(member);
            sleeper = std::exchange(sleeper_, nullptr);
        }
        if (sleeper) sleeper->wake();
    }

    SharedTable<V> &table_;
    std::vector<OwnedKey> keys_;
    std::vector<Member> members_;  ///< one for each of keys_; never grows, since lists hold its members
    std::size_t missing_ = 0;

    std::mutex lock_;
    Waiters<V> arrived_;
    Parker *sleeper_ = nullptr;  ///< of the thread in next()
};

}  // namespace offgil::store
