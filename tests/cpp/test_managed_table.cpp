// The managed-dict store in one thread: mapping, priorities, memory, limits.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <random>
#include <set>

#include "managed_fixture.h"

using namespace managed_test;

TEST_CASE("managed: size classes cover every size and waste less than a quarter above 320 bytes") {
    for (std::uint64_t bytes = 1; bytes <= kSmallChunk; ++bytes) {
        const std::uint64_t size = class_units(class_of(bytes)) * kUnit;
        REQUIRE(size >= bytes);
        if (class_of(bytes) > 0) REQUIRE(class_units(class_of(bytes) - 1) * kUnit < bytes);
        if (bytes > 320) REQUIRE(size - bytes < size / 4);
    }
}

TEST_CASE("managed: put, get, replace, pop") {
    auto store = join(make_segment());
    CHECK_FALSE(get(*store, "a"));
    CHECK(put(*store, "a", "one") == Outcome::Done);
    CHECK(put(*store, "", "empty key") == Outcome::Done);
    CHECK(put(*store, "b", "") == Outcome::Done);
    CHECK(*get(*store, "a") == "one");
    CHECK(*get(*store, "") == "empty key");
    CHECK(*get(*store, "b") == "");
    CHECK(put(*store, "a", "two") == Outcome::Done);
    CHECK(put(*store, "a", "three", 0, {}, true) == Outcome::Exists);
    CHECK(*get(*store, "a") == "two");
    CHECK(store->size() == 3);
    CHECK(*get(*store, "a", true) == "two");
    CHECK_FALSE(get(*store, "a"));
    CHECK(store->remove("a") == Outcome::Absent);
    CHECK(store->contains("b") == Outcome::Done);
    store->clear();
    CHECK(store->size() == 0);
    CHECK(store->stats().bytes_used == 0);
}

TEST_CASE("managed: keys on both sides of what fits into a record") {
    auto store = join(make_segment());
    for (std::size_t length : {1, 31, 32, 33, 63, 64, 65, 4096}) {
        const std::string key(length, 'k');
        CHECK(put(*store, key, name("v", length)) == Outcome::Done);
        CHECK(put(*store, key + "", std::string(10'000, 'x')) == Outcome::Done);
        CHECK(put(*store, key, name("v", length)) == Outcome::Done);
    }
    for (std::size_t length : {1, 31, 32, 33, 63, 64, 65, 4096})
        CHECK(*get(*store, std::string(length, 'k')) == name("v", length));
    const auto keys = store->keys();
    CHECK(std::set<std::string>(keys.begin(), keys.end()).size() == 8);
    CHECK_THROWS_WITH_AS(put(*store, std::string(4097, 'k'), ""), doctest::Contains("4096"), Error);
}

TEST_CASE("managed: a random history agrees with std::map, and all memory comes back") {
    auto store = join(make_segment(8 << 20));
    std::map<std::string, std::string> oracle;
    std::mt19937 random(1);
    for (std::uint32_t i = 0; i < 20'000; ++i) {
        const std::string key(1 + random() % 50, static_cast<char>('a' + random() % 8));
        const std::size_t size = random() % 100 == 0 ? random() % 200'000 : random() % 6'000;
        switch (random() % 4) {
            case 0:
            case 1: {
                const std::string value = stamped(i, size);
                REQUIRE(put(*store, key, value, static_cast<std::uint8_t>(random() % 64)) == Outcome::Done);
                oracle[key] = value;
                break;
            }
            case 2: {
                const auto value = get(*store, key);
                REQUIRE(value.has_value() == oracle.contains(key));
                if (value) REQUIRE(*value == oracle[key]);
                break;
            }
            default:
                REQUIRE((get(*store, key, true).has_value()) == (oracle.erase(key) == 1));
        }
        REQUIRE(store->size() == oracle.size());
    }
    store->clear();
    CHECK(all_memory_is_free(*store));
}

TEST_CASE("managed: take hands out by priority and then by age, over all shards and by topic") {
    auto store = join(make_segment());
    std::multimap<int, std::string, std::greater<>>
        expected;  // keeps the order of insertion within a priority
    std::mt19937 random(2);
    for (int i = 0; i < 2'000; ++i) {
        const int priority = static_cast<int>(random() % 64);
        const std::string key = name("k", i);
        put(*store, key, "v", static_cast<std::uint8_t>(priority), "jobs");
        expected.emplace(priority, key);
    }
    put(*store, "other", "v", 63);
    for (const auto &[priority, key] : expected) REQUIRE(take(*store, "jobs").value_or("nothing") == key);
    CHECK_FALSE(take(*store, "jobs"));
    CHECK_FALSE(take(*store, "unknown"));
    CHECK(*take(*store) == "other");
    CHECK(store->stats().takes == 2'001);
}

TEST_CASE("managed: take says in the claim what it is about to hand out") {
    auto store = join(make_segment());
    put(*store, "1f", "", 9);
    put(*store, "no number", "", 8);
    put(*store, "10", "", 7);
    Claim claim{};
    Fetched out;
    std::string key;
    const std::int64_t before = monotonic_ns();
    REQUIRE(store->take({}, key, out, Mode::Try, &claim) == Outcome::Done);
    CHECK(claim.number == 0x1f);
    CHECK(claim.since >= before);
    CHECK(claim.since <= monotonic_ns());
    REQUIRE(store->take_wait({}, key, out, {}, &claim) == Outcome::Done);
    CHECK(claim.number == 0);
    REQUIRE(store->take_wait({}, key, out, {}, &claim) == Outcome::Done);
    CHECK(claim.number == 0x10);
    REQUIRE(store->take({}, key, out, Mode::Wait, &claim) == Outcome::Absent);
    CHECK(claim.number == 0x10);
}

TEST_CASE("managed: memory of what was removed counts as used while it is looked at") {
    auto store = join(make_segment());
    CHECK(store->stats().memory_used == 0);
    put(*store, "large", std::string(100'000, 'x'));
    Fetched out;
    REQUIRE(store->get("large", true, out) == Outcome::Done);
    CHECK(store->stats().bytes_used == 0);
    CHECK(store->stats().memory_used == 2 * kPage);
    out.release();
    CHECK(store->stats().memory_used == 0);
}

TEST_CASE("managed: what was popped or replaced is not taken") {
    auto store = join(make_segment());
    for (const char *key : {"a", "b", "c"}) put(*store, key, "v", 5);
    get(*store, "b", true);
    put(*store, "a", "again", 5);
    put(*store, "c", "elsewhere", 5, "topic");
    CHECK(*take(*store) == "a");
    CHECK_FALSE(take(*store));
    CHECK(*take(*store, "topic") == "c");
}

TEST_CASE("managed: a failed put leaves the old value, and room that was freed can be used again") {
    auto store = join(make_segment(1 << 20));
    CHECK(put(*store, "a", std::string(600'000, 'x')) == Outcome::Done);
    // The new value must have its place before the old one goes.
    CHECK_THROWS_WITH_AS(put(*store, "a", std::string(600'000, 'y')), doctest::Contains("no room"), Error);
    CHECK(get(*store, "a")->front() == 'x');
    CHECK_THROWS_AS(put(*store, "b", std::string(2 << 20, 'y')), Error);
    CHECK(store->remove("a") == Outcome::Done);
    // All pages go to small values and come back for a large one.
    std::uint32_t small = 0;
    try {
        for (;; ++small) put(*store, std::to_string(small), std::string(100, 'z'));
    } catch (const Error &error) {
        CHECK(error.kind() == ErrorKind::Full);
    }
    CHECK(small > 7'000);
    CHECK(*get(*store, "0") == std::string(100, 'z'));
    store->clear();
    CHECK(all_memory_is_free(*store));
}

TEST_CASE("managed: at least max_entries entries fit, and the table says when it is full") {
    auto store = join(make_segment(64 << 20, 1'000));
    std::uint32_t count = 0;
    try {
        for (;; ++count) put(*store, name("key", count), "");
    } catch (const Error &error) {
        CHECK(error.kind() == ErrorKind::Full);
    }
    CHECK(count >= 1'000);
    CHECK(store->size() == count);
    CHECK(store->remove("key7") == Outcome::Done);
    CHECK(put(*store, "key7", "") == Outcome::Done);
}

TEST_CASE("managed: a reader keeps a value that is replaced and removed under it") {
    const auto segment = make_segment(1 << 20);
    auto writer = join(segment), reader = join(segment);
    put(*writer, "a", stamped(1, 300'000));
    {
        Fetched first, second;
        CHECK(reader->get("a", false, first) == Outcome::Done);
        CHECK(reader->get("a", false, second) == Outcome::Done);
        put(*writer, "a", stamped(2, 300'000));
        CHECK(writer->remove("a") == Outcome::Done);
        first.release();
        CHECK_THROWS_AS(put(*writer, "b", stamped(3, 900'000)), Error);
        CHECK(text(second) == stamped(1, 300'000));
    }
    CHECK(all_memory_is_free(*writer));
}

TEST_CASE("managed: topics and waits have limits that say so") {
    auto store = join(make_segment());
    for (std::uint32_t i = 1; i < kTopics; ++i) put(*store, "k", "v", 0, name("topic", i));
    CHECK_THROWS_WITH_AS(put(*store, "k", "v", 0, "one more"), doctest::Contains("1023"), Error);
    CHECK_THROWS_WITH_AS(put(*store, "k", "v", 0, std::string(241, 't')), doctest::Contains("240"), Error);
    Fetched out;
    std::string key;
    CHECK(store->wait("nothing", false, out, {in_ms(20)}) == Outcome::Absent);
    CHECK(store->take_wait("topic1", key, out, {in_ms(20)}) == Outcome::Absent);
    CHECK(store->stats().waiters == 0);
}

TEST_CASE("managed: close ends one handle, or everything if it is the creator's") {
    const auto segment = make_segment();
    auto creator = join(segment, true), child = join(segment), other = join(segment);
    child->close();
    CHECK_THROWS_AS(get(*child, "a"), Error);
    CHECK_FALSE(get(*other, "a"));
    creator->close();
    creator->close();
    CHECK(other->closed());
    try {
        put(*other, "a", "b");
        FAIL("a closed store took a value");
    } catch (const Error &error) {
        CHECK(error.kind() == ErrorKind::Closed);
    }
}

TEST_CASE("managed: 256 processes attach, one more is told") {
    const auto segment = make_segment();
    std::vector<std::unique_ptr<Store>> stores;
    for (std::uint32_t i = 0; i < kProcesses; ++i) {
        stores.push_back(join(segment));
        stores.back()->contains("a");
    }
    auto extra = join(segment);
    CHECK_THROWS_WITH_AS(extra->contains("a"), doctest::Contains("256"), Error);
    stores.pop_back();
    CHECK(extra->contains("a") == Outcome::Absent);
}

TEST_CASE("managed: foreign and damaged segments are refused") {
    const auto corrupted = [](int fd) {
        try {
            Segment::attach(fd);
        } catch (const Error &error) {
            return error.kind() == ErrorKind::Corrupted;
        }
        return false;
    };
    const int plain = memfd_create("plain", MFD_ALLOW_SEALING);
    REQUIRE(ftruncate(plain, 1 << 20) == 0);
    CHECK(corrupted(dup(plain)));
    REQUIRE(fcntl(plain, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    CHECK(corrupted(plain));

    const auto segment = make_segment();
    CHECK_NOTHROW(Segment::attach(dup(segment->fd())));
    Header &header = segment->header();
    header.abi ^= 1;
    CHECK(corrupted(dup(segment->fd())));
    header.abi ^= 1;
    header.config.record_count += kGroupRecords * 1000;
    CHECK(corrupted(dup(segment->fd())));
    header.config.record_count -= kGroupRecords * 1000;
    header.boot_id[3] ^= 1;
    CHECK(corrupted(dup(segment->fd())));
}

TEST_CASE("managed: wild indexes and offsets are caught before they are used") {
    const auto segment = make_segment();
    auto store = join(segment);
    put(*store, "a", "value");
    Record *record = nullptr;
    for (std::uint32_t i = 1; !record; ++i)
        if (word_of(segment->record(i)).state == State::Live) record = &segment->record(i);
    const Record &live = *record;
    const std::uint32_t units = live.units;
    record->units = 0xffffffff;
    CHECK_THROWS_AS(get(*store, "a"), Error);
    record->units = 1;
    CHECK_THROWS_AS(get(*store, "a"), Error);
    record->units = units;
    record->length = ~std::uint64_t{0} - 60;
    CHECK_THROWS_AS(get(*store, "a"), Error);
    record->length = 5;
    // Links are derived: what finds them damaged has them made anew.
    CHECK(*get(*store, "a") == "value");
    record->hash ^= 0x80000000;  // find passes on to the next record
    record->next = 0x7fffffff;
    CHECK_THROWS_AS(get(*store, "a"), Error);
    record->hash ^= 0x80000000;
    CHECK(*get(*store, "a") == "value");
    CHECK(store->stats().repairs == 2);
}
