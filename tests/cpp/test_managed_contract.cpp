// The managed-dict store in one thread or two: expiry, bounds, held memory, watches.
#include <doctest/doctest.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>

#include "managed_fixture.h"
#include "store/managed/watch.h"

using namespace managed_test;

namespace {

constexpr std::int64_t kMs = 1'000'000;

Outcome put_ttl(Store &store, std::string_view key, std::int64_t lifetime, std::string_view value = "v") {
    const std::span<const std::byte> part = std::as_bytes(std::span(value));
    return store.put({key, 1, Kind::Value, 0, {}, lifetime, false}, {&part, 1});
}

void sleep_ms(int ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

HeldPointer hold(Store &store, std::string_view key) {
    Fetched out;
    REQUIRE(store.get(key, false, out, Mode::Wait, true) == Outcome::Done);
    return out.keep();
}

std::string text(const HeldPointer &held) {
    return {reinterpret_cast<const char *>(held->memory().data()), held->memory().size()};
}

template <typename Work>
ErrorKind kind_of(Work &&work) {
    try {
        work();
    } catch (const Error &error) {
        return error.kind();
    }
    FAIL("nothing was thrown");
    return ErrorKind::Closed;
}

}  // namespace

TEST_CASE("managed ttl: what has expired is as absent, everywhere") {
    auto store = join(make_segment());
    put_ttl(*store, "short", 20 * kMs, std::string(10'000, 'x'));
    put_ttl(*store, "long", 3'600'000 * kMs);
    put(*store, "for ever", "v");
    CHECK(store->size() == 3);
    sleep_ms(40);
    CHECK_FALSE(get(*store, "short"));
    CHECK(store->contains("short") == Outcome::Absent);
    CHECK(store->remove("short") == Outcome::Absent);
    CHECK(store->size() == 2);
    CHECK(store->keys().size() == 2);
    CHECK(store->snapshot().size() == 2);
    CHECK(store->stats().expired == 1);
    CHECK(put(*store, "short", "new", 0, {}, true) == Outcome::Done);
    CHECK(*take(*store) == "long");
    CHECK(*take(*store) == "for ever");
    CHECK(*take(*store) == "short");
    // Replacing an entry replaces its expiry.
    put_ttl(*store, "k", 10 * kMs);
    put(*store, "k", "stays");
    sleep_ms(20);
    CHECK(*get(*store, "k") == "stays");
}

TEST_CASE("managed ttl: take passes by what has expired, across priorities and shards") {
    auto store = join(make_segment());
    const std::span<const std::byte> part{};
    for (int i = 0; i < 50; ++i)
        store->put({name("dead", static_cast<std::uint64_t>(i)), 1, Kind::Value, 63, "t", 5 * kMs, false},
                   {&part, 1});
    put(*store, "alive", "v", 1, "t");
    sleep_ms(20);
    CHECK(*take(*store, "t") == "alive");
    CHECK_FALSE(take(*store, "t"));
    CHECK(store->stats().expired == 50);
}

TEST_CASE("managed ttl: puts sweep what nobody asks for") {
    auto store = join(make_segment());
    for (std::uint64_t i = 0; i < 500; ++i)
        put_ttl(*store, name("dead", i), 1 * kMs + static_cast<int>(i % 7) * kMs);
    for (std::uint64_t i = 0; i < 100; ++i) put_ttl(*store, name("alive", i), 3'600'000 * kMs);
    sleep_ms(20);
    for (std::uint64_t i = 0; i < 1'500; ++i) put(*store, name("other", i % 300), "v");
    CHECK(store->stats().entries == 400);
    CHECK(store->stats().expired == 500);
    CHECK(store->size() == 400);
}

TEST_CASE("managed bounds: max_entries is exact, whoever puts") {
    const auto segment = make_segment(64 << 20, 10);
    auto store = join(segment), other = join(segment);
    for (std::uint64_t i = 0; i < 10; ++i)
        put(i % 2 ? *store : *other, name("k", i), std::string(i * 1'000, 'x'));
    CHECK(kind_of([&] { put(*store, "one more", ""); }) == ErrorKind::Full);
    CHECK(kind_of([&] { put(*store, "one more", std::string(10'000, 'x')); }) == ErrorKind::Full);
    CHECK(put(*other, "k3", "replaced") == Outcome::Done);
    store->remove("k4");
    CHECK(put(*store, "one more", std::string(10'000, 'x')) == Outcome::Done);
    CHECK(store->size() == 10);
    CHECK(segment->header().entries == 10);
    // What a crash made wrong is counted anew.
    segment->header().entries = 7;
    segment->header().recount = 1;
    CHECK(kind_of([&] { put(*store, "too much", ""); }) == ErrorKind::Full);
    store->clear();
    CHECK(segment->header().entries == 0);
}

TEST_CASE("managed bounds: the least recently used is evicted, what is held never") {
    auto store = join(make_segment(64 << 20, 3, Policy::Evict));
    put(*store, "a", "1");
    put(*store, "b", "2");
    put(*store, "c", "3");
    get(*store, "a");
    put(*store, "d", "4");
    CHECK_FALSE(get(*store, "b"));
    const HeldPointer held = hold(*store, "c");
    get(*store, "a");
    put(*store, "e", "5");
    put(*store, "f", "6");
    put(*store, "g", "7");
    CHECK(*get(*store, "c") == "3");
    CHECK(store->size() == 3);
    CHECK(store->stats().evicted == 4);
    // What has expired goes first.
    put_ttl(*store, "h", 1 * kMs);
    sleep_ms(5);
    const std::uint64_t before = store->stats().evicted;
    put(*store, "i", "8");
    CHECK(store->stats().evicted == before);
}

TEST_CASE("managed bounds: eviction makes room of any size") {
    auto store = join(make_segment(2 << 20, 0, Policy::Evict));
    for (std::uint32_t i = 0; i < 3'000; ++i)
        REQUIRE(put(*store, name("k", i), stamped(i, i % 7 ? 100 + i % 5'000 : 300'000)) == Outcome::Done);
    CHECK(*get(*store, "k2999") == stamped(2'999, 100 + 2'999 % 5'000));
    for (const std::string &key : store->keys()) CHECK(is_stamped(*get(*store, key)));
    const HeldPointer held = hold(*store, "k2999");
    CHECK(kind_of([&] { put(*store, "everything", std::string(2 << 20, 'x')); }) == ErrorKind::Full);
}

TEST_CASE("managed bounds: a blocked put goes on when there is room, or in time gives up") {
    const auto segment = make_segment(1 << 20, 0, Policy::Block);
    auto store = join(segment);
    put(*store, "large", std::string(900'000, 'x'));
    const std::string value(500'000, 'y');
    const std::span<const std::byte> part = std::as_bytes(std::span(value));
    CHECK(kind_of([&] { store->put({"k", 1}, {&part, 1}, Mode::Wait, {in_ms(20)}); }) == ErrorKind::Full);
    CHECK(kind_of([&] { put(*store, "never", std::string(2 << 20, 'x')); }) == ErrorKind::Full);
    CHECK(store->stats().blocked == 0);
    std::thread remover([&] {
        auto other = join(segment);
        while (other->stats().blocked == 0) std::this_thread::yield();
        other->remove("large");
    });
    // A lost wake-up would be found only after the slice.
    CHECK(store->put({"k", 1}, {&part, 1}, Mode::Wait, {in_ms(9'000), {nullptr, nullptr, 10'000'000'000}}) ==
          Outcome::Done);
    remover.join();
    CHECK(store->size() == 1);
}

TEST_CASE("managed bounds: a blocked put sleeps, and an interrupt ends it after its slice") {
    for (const std::uint32_t max_entries : {1, 0}) {
        auto store = join(make_segment(1 << 20, max_entries, Policy::Block));
        put(*store, "large", std::string(1 << 20, 'x'));
        int calls = 0;
        const Interrupt interrupt{[](void *context) { return ++*static_cast<int *>(context) == 3; }, &calls,
                                  5'000'000};
        const std::int64_t start = monotonic_ns();
        const std::span<const std::byte> part{};
        CHECK(store->put({"a key that is long enough to need memory of its own, as it does not fit", 1},
                         {&part, 1}, Mode::Wait, {kNoDeadline, interrupt}) == Outcome::Interrupted);
        CHECK(monotonic_ns() - start >= 15'000'000);
    }
}

TEST_CASE("managed hold: held memory stays, whatever becomes of the key") {
    auto store = join(make_segment());
    put(*store, "small", "abc");
    put(*store, "large", stamped(1, 100'000));
    HeldPointer small = hold(*store, "small"), large = hold(*store, "large"), again = hold(*store, "large");
    CHECK(store->snapshot()[0].pins == 1);
    put(*store, "small", "xyz");
    store->clear();
    for (std::uint32_t i = 0; i < 100; ++i) put(*store, name("other", i), stamped(i, 100'000));
    store->clear();
    CHECK(text(small) == "abc");
    CHECK(is_stamped(text(large)));
    large.reset();
    CHECK(is_stamped(text(again)));
    again.reset();
    small.reset();
    CHECK(all_memory_is_free(*store));
}

TEST_CASE("managed hold: what is dropped while the lock is taken is let go later, without waiting") {
    const auto segment = make_segment(1 << 20);  // one shard
    auto store = join(segment);
    put(*store, "k", stamped(1, 100'000));
    HeldPointer held = hold(*store, "k");
    store->remove("k");
    {
        const LockMutex lock = lock_shard(*segment, 0, Mode::Wait);
        held.reset();
        CHECK(store->process()->has_dropped());
    }
    CHECK(store->contains("k") == Outcome::Absent);
    CHECK_FALSE(store->process()->has_dropped());
    CHECK(all_memory_is_free(*store));
}

TEST_CASE("managed hold: a process that ends with something held leaves it to the reaper") {
    const auto segment = make_segment(1 << 20);
    auto store = join(segment);
    put(*store, "k", stamped(1, 100'000));
    {
        auto other = join(segment);
        HeldPointer held = hold(*other, "k");
        const LockMutex lock = lock_shard(*segment, 0, Mode::Wait);
        held.reset();
    }
    store->remove("k");
    CHECK(all_memory_is_free(*store));
}

TEST_CASE("managed reserve: published at commit, dropped otherwise") {
    auto store = join(make_segment());
    put(*store, "k", "old");
    HeldPointer held;
    REQUIRE(store->reserve("k", 100'000, held) == Outcome::Done);
    CHECK(*get(*store, "k") == "old");
    CHECK(store->size() == 1);
    bool reported = false;
    for (const EntryReport &report : store->snapshot())
        reported |= report.building && report.length == 100'000;
    CHECK(reported);
    std::memcpy(held->memory().data(), stamped(5, 100'000).data(), 100'000);
    CHECK(store->commit({"k", 1}, *held) == Outcome::Done);
    CHECK(*get(*store, "k") == stamped(5, 100'000));
    held.reset();
    CHECK(*get(*store, "k") == stamped(5, 100'000));
    REQUIRE(store->reserve("dropped", 100'000, held) == Outcome::Done);
    held.reset();
    REQUIRE(store->reserve("empty", 0, held) == Outcome::Done);
    CHECK(store->commit({"empty", 1}, *held) == Outcome::Done);
    CHECK(*get(*store, "empty") == "");
    CHECK_FALSE(get(*store, "dropped"));
    store->clear();
    CHECK(all_memory_is_free(*store));
}

TEST_CASE("managed watch: keys arrive in the order of their puts, in one sleep") {
    const auto segment = make_segment();
    auto store = join(segment);
    Watch watch(*store);
    std::vector<std::string> expected, arrived;
    for (std::uint64_t i = 0; i < 1'000; ++i) watch.add(name("k", i * 7 % 1'000));
    CHECK(store->stats().waiters == 1'000);
    watch.discard("k5");
    watch.discard("k5");
    CHECK(watch.next(arrived, {0}) == Outcome::Absent);
    std::thread publisher([&] {
        auto other = join(segment);
        for (std::uint64_t i = 0; i < 1'000; ++i) put(*other, name("k", i), "v");
    });
    while (watch.pending()) REQUIRE(watch.next(arrived, {in_ms(20'000)}) == Outcome::Done);
    publisher.join();
    CHECK(store->stats().waiters == 0);
    for (std::uint64_t i = 0; i < 1'000; ++i)
        if (i != 5) expected.push_back(name("k", i));
    CHECK(std::set(arrived.begin(), arrived.end()) == std::set(expected.begin(), expected.end()));
    // What is there at the call comes in order, too.
    arrived.clear();
    for (std::uint64_t i = 0; i < 1'000; ++i) watch.add(name("k", i * 7 % 1'000));
    REQUIRE(watch.next(arrived, {0}) == Outcome::Done);
    CHECK(arrived.size() == 1'000);
    CHECK(arrived[5] == "k5");
    CHECK(arrived[999] == "k999");
}

TEST_CASE("managed watch: no wake-up is lost, and none is needed for keys of others") {
    const auto segment = make_segment();
    auto store = join(segment);
    Watch watch(*store);
    std::thread publisher([&] {
        auto other = join(segment);
        for (std::uint64_t i = 0; i < 300; ++i) {
            while (watch.pending() == 0) std::this_thread::yield();
            put(*other, "noise", "v");
            put(*other, name("k", i), "v");
        }
    });
    std::vector<std::string> arrived;
    // The slice bounds a lost wake-up to 250 ms, so that many of them would take minutes.
    const std::int64_t start = monotonic_ns();
    for (std::uint64_t i = 0; i < 300; ++i) {
        watch.add(name("k", i));
        REQUIRE(watch.next(arrived, {in_ms(20'000)}) == Outcome::Done);
    }
    publisher.join();
    CHECK(arrived.size() == 300);
    CHECK(monotonic_ns() - start < 30'000 * kMs);
}

TEST_CASE("managed watch: stop and close end it") {
    const auto segment = make_segment();
    auto store = join(segment, true);
    std::vector<std::string> arrived;
    for (const bool close : {false, true}) {
        Watch watch(*store);
        watch.add("never");
        std::thread ender([&] {
            sleep_ms(5);
            if (close)
                store->close();
            else
                watch.stop();
        });
        const auto next = [&] {
            return watch.next(arrived, {kNoDeadline, {nullptr, nullptr, 60'000 * kMs}});
        };
        if (close)
            CHECK(kind_of(next) == ErrorKind::Closed);
        else
            CHECK(next() == Outcome::Interrupted);
        ender.join();
    }
}
