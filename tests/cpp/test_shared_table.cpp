// The shared-state table, one promise a test; the races between them are in test_shared_stress.cpp.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
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

auto no_longer_than(std::chrono::milliseconds limit) {
    return [until = Clock::now() + limit](Parker &parker) noexcept { return parker.park_until(until); };
}

auto forever() {
    return [](Parker &parker) noexcept { return parker.park_until(kNever); };
}

void put(Table &table, std::string_view key, int n, unsigned priority = 0,
         std::optional<std::string_view> topic = {}) {
    REQUIRE(table.put(key, boxed(n), {.priority = priority, .topic = topic}) == Status::ok);
}

void until_parked(const Table &table, std::size_t count) {
    while (table.stats().waiters != count) std::this_thread::yield();
}

std::vector<int> take_all(Table &table, std::optional<std::string_view> topic = {}) {
    std::vector<int> taken;
    EntryPtr<Value> entry;
    while (table.take(topic, entry) == Status::ok) taken.push_back(*entry->value);
    return taken;
}

}  // namespace

TEST_CASE("a put is read, replaced and removed") {
    Table table;
    Value value;
    CHECK(table.get("k", value) == Status::absent);
    put(table, "k", 1);
    put(table, "k", 2);
    CHECK(table.put("k", boxed(3), {.if_absent = true}) == Status::present);
    CHECK(table.get("k", value) == Status::ok);
    CHECK(*value == 2);
    CHECK(table.contains("k") == Status::ok);
    EntryPtr<Value> entry;
    CHECK(table.remove("k", entry, true) == Status::ok);
    CHECK(entry->name == "k");
    CHECK(*entry->value == 2);
    CHECK(table.remove("k", entry, true) == Status::absent);
    const TableStats stats = table.stats();
    CHECK(stats.entries == 0);
    CHECK(stats.puts == 2);
    CHECK(stats.takes == 1);
}

TEST_CASE("the index grows and keeps every key") {
    Table table;
    for (int i = 0; i < 20'000; ++i) put(table, "key-" + std::to_string(i), i);
    CHECK(table.size() == 20'000);
    Value value;
    for (int i = 0; i < 20'000; ++i) {
        REQUIRE(table.get("key-" + std::to_string(i), value) == Status::ok);
        REQUIRE(*value == i);
    }
    std::vector<std::string> keys;
    CHECK(table.keys(keys) == Status::ok);
    std::ranges::sort(keys);
    CHECK(keys.size() == 20'000);
    CHECK(std::ranges::adjacent_find(keys) == keys.end());
    CHECK(table.clear() == Status::ok);
    CHECK(table.size() == 0);
    CHECK(take_all(table).empty());
}

TEST_CASE("take goes by priority, then by age, over all shards") {
    Table table;
    std::vector<int> expected;
    for (unsigned priority : {0u, 63u, 7u})
        for (int i = 0; i < 300; ++i)
            put(table, std::to_string(priority) + "/" + std::to_string(i),
                static_cast<int>(priority) * 1000 + i, priority);
    for (int priority : {63, 7, 0})
        for (int i = 0; i < 300; ++i) expected.push_back(priority * 1000 + i);
    CHECK(take_all(table) == expected);
}

TEST_CASE("a replaced entry queues up again") {
    Table table;
    put(table, "a", 1);
    put(table, "b", 2);
    put(table, "a", 3);
    CHECK(take_all(table) == std::vector{2, 3});
}

TEST_CASE("the queue that the first take makes has all entries, in the order of their puts") {
    Table table;
    for (int i = 0; i < 500; ++i) table.put("k" + std::to_string(i), boxed(i), {.priority = i % 2 ? 1u : 0u});
    for (int i = 0; i < 500; i += 10) table.put("k" + std::to_string(i), boxed(i), {});
    table.put("other", boxed(0), {.topic = "t"});
    EntryPtr<Value> entry;
    table.remove("k4", entry, true);
    const auto expect = [&](int i) {
        REQUIRE(table.take(std::nullopt, entry) == Status::ok);
        REQUIRE(*entry->value == i);
    };
    for (int i = 1; i < 500; i += 2) expect(i);
    for (int i = 2; i < 500; i += 2)
        if (i % 10 != 0 && i != 4) expect(i);
    table.put("k0", boxed(0), {});  // queued by now, and again the newest
    for (int i = 10; i < 500; i += 10) expect(i);
    expect(0);
    CHECK(table.take(std::nullopt, entry) == Status::absent);
    CHECK(table.take("t", entry) == Status::ok);
}

TEST_CASE("a replaced entry has the priority, topic and time of its replacement only") {
    Table table;
    put(table, "a", 1, 9);
    put(table, "b", 2, 5);
    put(table, "a", 3, 1);
    put(table, "c", 4, 1);
    put(table, "b", 5, 5, "x");
    put(table, "d", 6, 0, "x");
    put(table, "d", 7, 2);
    CHECK(take_all(table) == std::vector{7, 3, 4});
    CHECK(take_all(table, "x") == std::vector{5});
    CHECK(table.stats().entries == 0);
    CHECK(table.stats().puts == 7);
}

TEST_CASE("topics do not mix, the empty name is not the nameless topic, and names are given back") {
    Table table;
    for (int round = 0; round < 3; ++round) {
        put(table, "a", 1, 0, "x");
        put(table, "b", 2);
        put(table, "c", 3, 0, "");
        put(table, "d", 4, 9, "x");
        CHECK(take_all(table, "y").empty());
        CHECK(take_all(table, "x") == std::vector{4, 1});
        CHECK(take_all(table) == std::vector{2});
        CHECK(take_all(table, "") == std::vector{3});
    }
}

TEST_CASE("a waiter gives up without taking anything") {
    Table table;
    Value value;
    EntryPtr<Value> entry;
    CHECK(table.wait("k", value, no_longer_than(2ms)) == Status::absent);
    CHECK(table.wait_remove("k", entry, no_longer_than(0ms)) == Status::absent);
    CHECK(table.wait_take({}, entry, no_longer_than(2ms)) == Status::absent);
    CHECK(table.stats().waiters == 0);
    put(table, "k", 1);
    CHECK(take_all(table) == std::vector{1});
}

TEST_CASE("one put serves every waiting reader and the first remover") {
    Table table;
    std::vector<std::thread> threads;
    std::atomic<int> read{0}, removed{0};
    for (int i = 0; i < 3; ++i) {
        threads.emplace_back([&] {
            Value value;
            if (table.wait("k", value, forever()) == Status::ok && *value == 7) ++read;
        });
        threads.emplace_back([&] {
            EntryPtr<Value> entry;
            if (table.wait_remove("k", entry, forever()) == Status::ok) removed += *entry->value;
        });
    }
    until_parked(table, 6);
    put(table, "k", 7);
    until_parked(table, 2);
    CHECK(table.size() == 0);
    put(table, "k", 7);
    put(table, "k", 7);
    for (std::thread &thread : threads) thread.join();
    CHECK(read == 3);
    CHECK(removed == 21);
    CHECK(table.stats().takes == 3);
}

TEST_CASE("parked takers are served in the order in which they came") {
    Table table;
    std::vector<std::thread> threads;
    std::vector<int> got(4);
    for (std::size_t i = 0; i < got.size(); ++i) {
        threads.emplace_back([&, i] {
            EntryPtr<Value> entry;
            if (table.wait_take("jobs", entry, forever()) == Status::ok) got[i] = *entry->value;
        });
        until_parked(table, i + 1);
    }
    for (int i = 1; i <= 4; ++i) put(table, "k", i, 0, "jobs");
    for (std::thread &thread : threads) thread.join();
    CHECK(got == std::vector{1, 2, 3, 4});
}

TEST_CASE("close wakes every waiter, drops the entries and refuses what follows") {
    Table table;
    const Value held = boxed(1);
    REQUIRE(table.put("held", held, {}) == Status::ok);
    std::atomic<int> closed{0};
    std::thread reader([&] {
        Value value;
        if (table.wait("k", value, forever()) == Status::closed) ++closed;
    });
    std::thread remover([&] {
        EntryPtr<Value> entry;
        if (table.wait_remove("k", entry, forever()) == Status::closed) ++closed;
    });
    std::thread taker([&] {
        EntryPtr<Value> entry;
        if (table.wait_take("jobs", entry, forever()) == Status::closed) ++closed;
    });
    until_parked(table, 3);
    table.close();
    table.close();
    for (std::thread *thread : {&reader, &remover, &taker}) thread->join();
    CHECK(closed == 3);
    CHECK(held.use_count() == 1);
    Value value;
    EntryPtr<Value> entry;
    std::vector<std::string> keys;
    CHECK(table.put("k", boxed(1), {}) == Status::closed);
    CHECK(table.get("held", value) == Status::closed);
    CHECK(table.wait("held", value, forever()) == Status::closed);
    CHECK(table.wait_take({}, entry, forever()) == Status::closed);
    CHECK(table.take({}, entry) == Status::closed);
    CHECK(table.remove("k", entry, false) == Status::closed);
    CHECK(table.contains("k") == Status::closed);
    CHECK(table.keys(keys) == Status::closed);
    CHECK(table.clear() == Status::closed);
}

TEST_CASE("no lock is held while a value is dropped") {
    // The deleter calls back into the table, on the very key that is being changed: std::mutex would
    // deadlock.
    SharedTable<std::shared_ptr<void>> table;
    int dropped = 0;
    const auto hostile = [&] {
        return std::shared_ptr<void>(static_cast<void *>(&dropped), [&](void *) {
            ++dropped;
            std::vector<std::string> keys;
            table.keys(keys);
            table.contains("k");
            table.put("k2", nullptr, {.topic = "t"});
        });
    };
    table.put("k", hostile(), {.topic = "t"});
    table.put("k", hostile(), {.topic = "t"});
    CHECK(dropped == 1);
    table.put("k", hostile(), {.if_absent = true});
    CHECK(dropped == 2);
    EntryPtr<std::shared_ptr<void>> entry;
    table.remove("k", entry, true);
    entry.reset();
    CHECK(dropped == 3);
    table.put("k", hostile(), {});
    table.clear();
    CHECK(dropped == 4);
    table.put("k", hostile(), {});
    table.close();
    CHECK(dropped == 5);
    table.put("k", hostile(), {});
    CHECK(dropped == 6);
}
