// Waiting on the shared-state table without a call of one's own, and snapshots.
#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "shared_fixture.h"
#include "store/shared/group.h"

using namespace shared_tests;

namespace {

using Group = KeyGroup<Value>;

struct Listener final : Waiter<Value> {
    explicit Listener(std::string_view key) : Waiter(Key(key), Wants::copy) {}
    void deliver() noexcept override { ++delivered; }
    std::atomic<int> delivered{0};
};

std::size_t next_position(Group &group) {
    std::size_t position = 0;
    Value value;
    REQUIRE(group.next(position, value, forever) == Status::ok);
    REQUIRE(value);
    return position;
}

}  // namespace

TEST_CASE("any number of waiters on one key come and go in any order") {
    Table table;
    std::vector<std::unique_ptr<Listener>> listeners;
    for (int i = 0; i < 1000; ++i) {
        listeners.push_back(std::make_unique<Listener>("k"));
        REQUIRE(table.watch(*listeners.back()) == Status::absent);
    }
    for (std::size_t i : {0u, 999u, 500u, 1u, 998u}) {
        CHECK(table.unwatch(*listeners[i]));
        CHECK_FALSE(table.unwatch(*listeners[i]));
    }
    CHECK(table.stats().waiters == 995);
    table.put("k", boxed(7), {});
    int told = 0;
    for (const auto &listener : listeners) {
        told += listener->delivered;
        CHECK(listener->delivered == (listener->copy ? 1 : 0));
    }
    CHECK(told == 995);
    Listener late("k");
    CHECK(table.watch(late) == Status::ok);
    CHECK(late.delivered == 0);
    CHECK(**late.copy == 7);
}

TEST_CASE("close tells listeners") {
    Table table;
    Listener listener("k");
    table.watch(listener);
    table.close();
    CHECK(listener.delivered == 1);
    CHECK(listener.closed);
}

TEST_CASE("a group gives what was there by age, then what comes, each key once") {
    Table table;
    for (const char *key : {"z", "a", "m"}) table.put(key, boxed(1), {});
    const auto group = std::make_shared<Group>(table);
    REQUIRE(group->start({"a", "later", "m", "a", "z", "last"}) == Status::ok);
    CHECK(group->missing() == 5);
    CHECK(next_position(*group) == 4);
    CHECK(next_position(*group) == 0);
    table.put("later", boxed(1), {});
    EntryPtr<Value> entry;
    table.remove("later", entry, true);
    CHECK(next_position(*group) == 2);
    CHECK(next_position(*group) == 1);
    std::size_t position = 0;
    Value value;
    CHECK(group->next(position, value, no_longer_than(100us)) == Status::absent);
    table.put("later", boxed(2), {});
    CHECK(group->next(position, value, no_longer_than(100us)) == Status::absent);
    std::thread putter([&] { table.put("last", boxed(1), {}); });
    CHECK(next_position(*group) == 5);
    putter.join();
    CHECK(group->missing() == 0);
    group->stop();
    CHECK(table.stats().waiters == 0);
}

TEST_CASE("a group hears of the end") {
    Table table;
    const auto group = std::make_shared<Group>(table);
    REQUIRE(group->start({"a", "b"}) == Status::ok);
    std::thread closer([&] { table.close(); });
    std::size_t position = 0;
    Value value;
    CHECK(group->next(position, value, forever) == Status::closed);
    closer.join();
    group->stop();
    CHECK(std::make_shared<Group>(table)->start({"a"}) == Status::closed);
}

TEST_CASE("groups that stop early race with publishers and leave nothing behind") {
    constexpr int kKeys = 64;
    Table table;
    std::atomic<bool> done{false};
    std::thread putter([&] {
        EntryPtr<Value> entry;
        for (int i = 0; !done; ++i) {
            table.put("k" + std::to_string(i % kKeys), boxed(i), {});
            table.remove("k" + std::to_string((i + 7) % kKeys), entry, true);
        }
    });
    std::vector<OwnedKey> keys;
    for (int i = 0; i < kKeys; ++i) keys.emplace_back("k" + std::to_string(i));
    for (int round = 0; round < 300; ++round) {
        auto group = std::make_shared<Group>(table);
        REQUIRE(group->start(keys) == Status::ok);
        for (int i = 0; i < round % kKeys; ++i) next_position(*group);
        group->stop();
    }
    done = true;
    putter.join();
    CHECK(table.stats().waiters == 0);
}

TEST_CASE("a snapshot is of one instant") {
    // One thread moves a token from key to key, always putting the next before it removes the last: at every
    // instant there are one or two.  A snapshot shard by shard would see none or three sooner or later.
    constexpr int kKeys = 97;
    Table table;
    table.put("0", boxed(0), {.priority = 3, .topic = "t", .size = 5, .producer = 9});
    std::atomic<bool> done{false};
    std::thread mover([&] {
        EntryPtr<Value> entry;
        for (int i = 0; !done; ++i) {
            table.put(std::to_string((i + 1) % kKeys), boxed(i), {});
            table.remove(std::to_string(i % kKeys), entry, true);
        }
    });
    std::vector<Sighting<Value>> seen;
    for (int round = 0; round < 3'000; ++round) {
        seen.clear();
        REQUIRE(table.snapshot(seen) == Status::ok);
        REQUIRE(seen.size() >= 1);
        REQUIRE(seen.size() <= 2);
    }
    done = true;
    mover.join();
    table.clear();
    table.put("k", boxed(1), {.priority = 3, .topic = "t", .size = 5, .producer = 9});
    seen.clear();
    table.snapshot(seen);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].key == "k");
    CHECK(seen[0].topic == "t");
    CHECK(seen[0].priority == 3);
    CHECK(seen[0].size == 5);
    CHECK(seen[0].producer == 9);
    CHECK(seen[0].expires == kNever);
}
