// The shared-state table's bounds: time to live, room, and what happens without.
#include <doctest/doctest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "shared_fixture.h"
#include "store/shared/expiry.h"

using namespace shared_tests;

namespace {

void until_past(Time moment) {
    while (Clock::now() <= moment) std::this_thread::yield();
}

std::vector<std::string> keys_of(Table &table) {
    std::vector<std::string> keys;
    REQUIRE(table.keys(keys) == Status::ok);
    std::ranges::sort(keys);
    return keys;
}

}  // namespace

TEST_CASE("the heap gives the earliest first, whatever was removed from its middle") {
    struct Item {
        Time expires;
        std::size_t heap_at = 0;
    };
    std::vector<Item> items(500);
    ExpiryHeap<Item> heap;
    for (std::size_t i = 0; i < items.size(); ++i) {
        items[i].expires = Time(Clock::duration(static_cast<Clock::rep>((i * 7919) % 1009)));
        heap.reserve_one();
        heap.push(&items[i]);
    }
    for (std::size_t i = 0; i < items.size(); i += 3) heap.remove(&items[i]);
    std::size_t left = 0;
    for (Time last{}; !heap.empty(); ++left) {
        Item *first = heap.first();
        REQUIRE(first->expires >= last);
        last = first->expires;
        heap.remove(first);
    }
    CHECK(left == items.size() - (items.size() + 2) / 3);
}

TEST_CASE("an expired entry is absent to everyone") {
    Table table;
    const Table::PutOptions brief = lasting(1us);
    for (const char *key : {"a", "b", "c", "d", "e"}) table.put(key, boxed(1), brief);
    table.put("lasts", boxed(2), {.expires = Clock::now() + 1h});
    until_past(brief.expires);
    Value value;
    EntryPtr<Value> entry;
    CHECK(table.get("a", value) == Status::absent);
    CHECK(table.contains("b") == Status::absent);
    CHECK(table.remove("c", entry, true) == Status::absent);
    CHECK(table.wait("d", value, no_longer_than(0us)) == Status::absent);
    CHECK(table.put("e", boxed(3), {.if_absent = true}) == Status::ok);
    CHECK(table.take({}, entry) == Status::ok);
    CHECK(entry->name == "lasts");
    CHECK(keys_of(table) == std::vector<std::string>{"e"});
    CHECK(table.size() == 1);
    CHECK(table.stats().expired == 5);
    CHECK(table.stats().takes == 1);
}

TEST_CASE("a put without a limit replaces the limit of the one before") {
    Table table;
    const Table::PutOptions brief = lasting(1us);
    table.put("k", boxed(1), brief);
    table.put("k", boxed(2), {});
    until_past(brief.expires);
    Value value;
    CHECK(table.get("k", value) == Status::ok);
    CHECK(*value == 2);
}

TEST_CASE("later calls release what has expired, a little at a time") {
    Table table;
    const Value held = boxed(1);
    const Table::PutOptions brief = lasting(1us);
    for (int i = 0; i < 1000; ++i) table.put("k" + std::to_string(i), held, brief);
    until_past(brief.expires);
    EntryPtr<Value> entry;
    const long before = held.use_count();
    table.remove("not there", entry, true);
    CHECK(held.use_count() >= before - 4);
    for (int i = 0; i < 1000; ++i) table.remove("not there", entry, true);
    CHECK(held.use_count() == 1);
}

TEST_CASE("a bound refuses one entry more, and no replacement") {
    Table table({.entries = 2});
    CHECK(table.put("a", boxed(1), {}) == Status::ok);
    CHECK(table.put("b", boxed(2), {.topic = "t"}) == Status::ok);
    CHECK(table.put("c", boxed(3), {.topic = "u"}) == Status::full);
    CHECK(table.put("a", boxed(4), {}) == Status::ok);
    EntryPtr<Value> entry;
    CHECK(table.take("t", entry) == Status::ok);
    CHECK(table.put("c", boxed(3), {}) == Status::ok);
    CHECK(table.clear() == Status::ok);
    CHECK(table.put("d", boxed(3), {}) == Status::ok);
}

TEST_CASE("bytes are counted to the last, through replacements") {
    Table table({.bytes = 100}, true);
    CHECK(table.put("a", boxed(1), {.size = 60}) == Status::ok);
    CHECK(table.put("b", boxed(2), {.size = 40}) == Status::ok);
    CHECK(table.put("c", boxed(3), {.size = 1}) == Status::full);
    CHECK(table.put("a", boxed(3), {.size = 61}) == Status::full);
    CHECK(table.put("a", boxed(3), {.size = 10}) == Status::ok);
    CHECK(table.stats().bytes == 50);
    CHECK(table.put("c", boxed(3), {.size = 101}) == Status::full);
    CHECK(table.put("c", boxed(3), {.size = 50}) == Status::ok);
    table.clear();
    CHECK(table.stats().bytes == 0);
}

TEST_CASE("a put that finds the bound full of expired entries has room") {
    Table table({.entries = 3});
    const Table::PutOptions brief = lasting(1us);
    for (const char *key : {"a", "b", "c"}) REQUIRE(table.put(key, boxed(1), brief) == Status::ok);
    until_past(brief.expires);
    CHECK(table.put("d", boxed(2), {}) == Status::ok);
    CHECK(keys_of(table) == std::vector<std::string>{"d"});
}

TEST_CASE("eviction goes by use, and spares what can be dropped otherwise") {
    Table table({.entries = 4, .on_full = OnFull::evict});
    for (const char *key : {"a", "b", "c", "d"}) table.put(key, boxed(1), {});
    Value value;
    table.get("a", value);
    table.get("c", value, false);  // a look, not a use
    table.put("b", boxed(2), {});
    table.put("e", boxed(1), {});
    table.put("f", boxed(1), {});
    CHECK(keys_of(table) == std::vector<std::string>{"a", "b", "e", "f"});
    const Table::PutOptions brief = lasting(1us);
    table.put("f", boxed(1), brief);
    until_past(brief.expires);
    table.put("g", boxed(1), {});
    CHECK(keys_of(table) == std::vector<std::string>{"a", "b", "e", "g"});
    CHECK(table.stats().evicted == 2);
    CHECK(table.stats().expired == 1);
}

TEST_CASE("a blocked put goes in when there is room, first come first served") {
    Table table({.entries = 1, .on_full = OnFull::block});
    table.put("held", boxed(0), {});
    CHECK(table.put("k", boxed(1), {}, until_room_or(1ms)) == Status::full);
    CHECK(table.put("held", boxed(7), {}, until_room_or(0us)) == Status::ok);
    std::vector<std::thread> threads;
    for (int i = 1; i <= 3; ++i) {
        threads.emplace_back([&, i] {
            CHECK(table.put("k" + std::to_string(i), boxed(i), {}, until_room_or(1h)) == Status::ok);
        });
        until_blocked(table, static_cast<std::size_t>(i));
    }
    EntryPtr<Value> entry;
    std::vector<int> order;
    for (int i = 0; i < 4; ++i) {
        while (table.wait_take({}, entry, forever) != Status::ok) continue;
        order.push_back(*entry->value);
    }
    for (std::thread &thread : threads) thread.join();
    CHECK(order == std::vector{7, 1, 2, 3});
    CHECK(table.stats().blocked == 0);
}

TEST_CASE("a blocked put does not outwait an entry that expires") {
    Table table({.entries = 1, .on_full = OnFull::block});
    table.put("held", boxed(0), lasting(2ms));
    CHECK(table.put("k", boxed(1), {}, until_room_or(1h)) == Status::ok);
    std::thread putter([&] { CHECK(table.put("l", boxed(1), {}, until_room_or(1h)) == Status::ok); });
    until_blocked(table, 1);
    table.put("k", boxed(2), lasting(2ms));  // what it waits for now has an end
    putter.join();
    CHECK(keys_of(table) == std::vector<std::string>{"l"});
}

TEST_CASE("close refuses a blocked put") {
    Table table({.entries = 1, .on_full = OnFull::block});
    table.put("held", boxed(0), {});
    std::thread putter([&] { CHECK(table.put("k", boxed(1), {}, until_room_or(1h)) == Status::closed); });
    until_blocked(table, 1);
    table.close();
    putter.join();
}

TEST_CASE("putters and takers through a narrow bound lose nothing and never exceed it") {
    constexpr int kEach = 3'000, kPutters = 3, kTakers = 3;
    Table table({.entries = 4, .bytes = 40, .on_full = OnFull::block}, true);
    std::vector<std::atomic<int>> seen(kEach * kPutters);
    std::atomic<int> left{kEach * kPutters};
    std::atomic<bool> exceeded{false};
    std::vector<std::thread> threads;
    for (int me = 0; me < kPutters; ++me)
        threads.emplace_back([&, me] {
            for (int i = 0; i < kEach; ++i) {
                const int n = me * kEach + i;
                // Some give up and come again: a wake-up that was meant for them must go to the next.
                while (table.put("k" + std::to_string(n), boxed(n),
                                 {.size = static_cast<std::size_t>(n % 20)},
                                 until_room_or(i % 8 ? 1h : 20us)) != Status::ok)
                    continue;
            }
        });
    for (int me = 0; me < kTakers; ++me)
        threads.emplace_back([&] {
            EntryPtr<Value> entry;
            while (left > 0) {
                if (table.stats().bytes > 40) exceeded = true;
                if (table.wait_take({}, entry, no_longer_than(50us)) != Status::ok) continue;
                ++seen[static_cast<std::size_t>(*entry->value)];
                --left;
            }
        });
    for (std::thread &thread : threads) thread.join();
    for (const std::atomic<int> &count : seen) REQUIRE(count == 1);
    CHECK_FALSE(exceeded);
    CHECK(table.stats().bytes == 0);
    CHECK(table.stats().blocked == 0);
}

TEST_CASE("eviction under threads keeps the bound and the count") {
    Table table({.entries = 50, .on_full = OnFull::evict});
    std::vector<std::thread> threads;
    for (int me = 0; me < 4; ++me)
        threads.emplace_back([&, me] {
            Value value;
            for (int i = 0; i < 3'000; ++i) {
                Table::PutOptions options = i % 5 ? Table::PutOptions{} : lasting(100us);
                if (table.put(std::to_string((me * 31 + i * 7) % 200), boxed(i), options) != Status::ok)
                    FAIL_CHECK("an evicting put was refused");
                table.get(std::to_string(i % 200), value);
            }
        });
    for (std::thread &thread : threads) thread.join();
    until_past(Clock::now() + 100us);
    const std::size_t size = table.size();
    CHECK(size <= 50);
    CHECK(keys_of(table).size() == size);
}
