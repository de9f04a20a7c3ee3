// The shared-state table under threads; the sanitizer builds are what these are for.
#include <doctest/doctest.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "store/shared/table.h"

using namespace offgil::store;
using namespace std::chrono_literals;

namespace {

using Value = std::shared_ptr<const int>;
using Table = SharedTable<Value>;

Value boxed(int n) {
    return std::make_shared<const int>(n);
}

bool forever(Parker &parker) noexcept {
    return parker.park_until(kNever);
}

bool briefly(Parker &parker) noexcept {
    return parker.park_until(Clock::now() + 50us);
}

bool not_at_all(Parker &) noexcept {
    return false;
}

/// Fresh threads that start together.
void in_parallel(std::size_t count, const std::function<void(std::size_t)> &body) {
    std::barrier start(static_cast<std::ptrdiff_t>(count));
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < count; ++i)
        threads.emplace_back([&, i] {
            start.arrive_and_wait();
            body(i);
        });
    for (std::thread &thread : threads) thread.join();
}

/// Cheap, seeded, one a thread.
class Dice {
  public:
    explicit Dice(std::size_t seed) : state_(seed * 2654435761u + 1) {}
    unsigned roll(unsigned sides) {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<unsigned>(state_ >> 33) % sides;
    }

  private:
    std::uint64_t state_;
};

}  // namespace

TEST_CASE("every entry goes to exactly one taker, whether it is parked, polling or giving up") {
    constexpr int kEach = 4'000, kPutters = 2, kTakers = 4;
    Table table;
    std::vector<std::atomic<int>> seen(kEach * kPutters);
    std::atomic<int> left{kEach * kPutters};
    in_parallel(kPutters + kTakers, [&](std::size_t me) {
        if (me < kPutters) {
            for (int i = 0; i < kEach; ++i) {
                const int n = static_cast<int>(me) * kEach + i;
                table.put("k" + std::to_string(n), boxed(n),
                          {.priority = static_cast<unsigned>(n) % kPriorities, .topic = "jobs"});
            }
            return;
        }
        EntryPtr<Value> entry;
        while (left > 0) {
            const Status status =
                me % 2 ? table.wait_take("jobs", entry, briefly) : table.wait_take("jobs", entry, not_at_all);
            if (status != Status::ok) continue;
            ++seen[static_cast<std::size_t>(*entry->value)];
            --left;
        }
    });
    for (const std::atomic<int> &count : seen) REQUIRE(count == 1);
    CHECK(table.stats().waiters == 0);
    CHECK(table.stats().takes == kEach * kPutters);
}

TEST_CASE("a taker that sleeps without limit is never forgotten") {
    // Two threads play ping-pong through two topics.  One lost wake-up hangs the test, and the runner's time
    // limit reports it.
    constexpr int kRounds = 10'000;
    Table table;
    in_parallel(2, [&](std::size_t me) {
        const std::string_view mine = me ? "pong" : "ping", theirs = me ? "ping" : "pong";
        EntryPtr<Value> entry;
        for (int i = 0; i < kRounds; ++i) {
            if (me == 0) table.put(theirs, boxed(i), {.topic = theirs});
            REQUIRE(table.wait_take(mine, entry, forever) == Status::ok);
            REQUIRE(*entry->value == i);
            if (me == 1) table.put(theirs, boxed(i), {.topic = theirs});
        }
    });
}

TEST_CASE("a put is never missed by whoever waits for its key") {
    constexpr int kKeys = 4'000;
    Table table;
    in_parallel(4, [&](std::size_t me) {
        Value value;
        for (int i = 0; i < kKeys; ++i) {
            const std::string key = std::to_string(i);
            if (me == 0) {
                table.put(key, boxed(i), {});
            } else {
                REQUIRE(table.wait(key, value, forever) == Status::ok);
                REQUIRE(*value == i);
            }
        }
    });
}

TEST_CASE("the oldest entry of a priority comes first for each putter, with takers racing") {
    constexpr int kEach = 5'000;
    Table table;
    std::atomic<int> left{2 * kEach};
    in_parallel(4, [&](std::size_t me) {
        if (me < 2) {
            for (int i = 0; i < kEach; ++i)
                table.put(std::to_string(me) + "/" + std::to_string(i),
                          boxed(static_cast<int>(me) * kEach + i), {});
            return;
        }
        int last[2] = {-1, -1};
        EntryPtr<Value> entry;
        while (left > 0) {
            if (table.wait_take({}, entry, briefly) != Status::ok) continue;
            --left;
            const int n = *entry->value;
            REQUIRE(n > last[n / kEach]);
            last[n / kEach] = n;
        }
    });
}

TEST_CASE("all operations against each other on few keys, then close under parked threads") {
    constexpr int kSteps = 6'000;
    Table table;
    std::atomic<int> still_running{4};
    in_parallel(6, [&](std::size_t me) {
        Dice dice(me);
        Value value;
        EntryPtr<Value> entry;
        std::vector<std::string> keys;
        if (me >= 4) {
            // Parked until close() in the end; what arrives meanwhile is theirs.
            Status status = Status::ok;
            while (status == Status::ok)
                status = me == 4 ? table.wait_take("never", entry, forever)
                                 : table.wait_remove("never", entry, forever);
            CHECK(status == Status::closed);
            return;
        }
        for (int i = 0; i < kSteps; ++i) {
            const std::string key(1, static_cast<char>('a' + dice.roll(4)));
            const std::optional<std::string_view> topic =
                dice.roll(2) ? std::optional<std::string_view>("t") : std::nullopt;
            switch (dice.roll(10)) {
                case 0:
                case 1:
                case 2:
                    table.put(key, boxed(i), {.priority = dice.roll(kPriorities), .topic = topic});
                    break;
                case 3:
                    table.put(key, boxed(i), {.topic = topic, .if_absent = true});
                    break;
                case 4:
                    table.get(key, value);
                    break;
                case 5:
                    table.wait(key, value, briefly);
                    break;
                case 6:
                    table.wait_remove(key, entry, briefly);
                    break;
                case 7:
                    table.wait_take(topic, entry, briefly);
                    break;
                case 8:
                    table.remove(key, entry, false);
                    break;
                default:
                    keys.clear();
                    dice.roll(20) ? table.keys(keys) : table.clear();
            }
        }
        if (--still_running == 0) table.close();
    });
    CHECK(table.stats().waiters == 0);
    CHECK(table.stats().entries == 0);
}
