// The managed-dict store, killed at every step: of each operation, and of each repair of what that left.
//
// This binary has a build of the store of its own, in which OFFGIL_FAULT() counts.  A child runs a scenario
// and is killed at the n-th point that it comes by, for every n; then children repair what it left, and are
// killed on the way, too.  What is left at last must be a store in which nothing is lost, torn or leaked.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <map>
#include <new>

#include "managed_fixture.h"
#include "store/managed/watch.h"

using namespace managed_test;

namespace {

std::uint32_t hits, armed;  // of this process; 0: never

}  // namespace

void offgil::store::managed::fault_point() {
    if (++hits == armed) kill(getpid(), SIGKILL);
}

// As in test_managed_kill.cpp.
#ifndef __SANITIZE_THREAD__

namespace {

/// Runs `work` in a child, which is killed at its `point`-th fault point; false if it came to its end before.
bool killed_at(std::uint32_t point, const std::function<void()> &work) {
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        hits = 0;
        armed = point;
        // A hang is a failure that names its point.
        alarm(20);
        try {
            work();
        } catch (const Error &error) {
            fprintf(stderr, "at point %u: %s\n", point, error.what());
            _exit(1);
        }
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    INFO("fault point ", point);
    REQUIRE((status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)));
    return status != 0;
}

constexpr std::size_t kLarge = 100'000;

#ifdef __SANITIZE_ADDRESS__
constexpr std::uint32_t kStride = 7;  // a fork takes ten times as long
#else
constexpr std::uint32_t kStride = 1;
#endif

/// What is there before each scenario, and must be there after it.
void lay_foundation(Store &store) {
    for (std::uint32_t i = 0; i < 5; ++i) {
        put(store, name("kept", i), stamped(i, i % 2 ? kLarge : 100));
        put(store, name("replaced", i), stamped(i, i % 2 ? kLarge : 100));
        put(store, name("queued", i), stamped(i, 100), static_cast<std::uint8_t>(i), "topic");
    }
}

void put_for(Store &store, std::string_view key, std::int64_t lifetime) {
    const std::string value = stamped(1, 100);
    const std::span<const std::byte> part = std::as_bytes(std::span(value));
    store.put({key, 1, Kind::Value, 0, {}, lifetime, false}, {&part, 1});
}

void write_and_read(Store &store) {
    for (std::uint32_t i = 0; i < 5; ++i) {
        put(store, name("replaced", i), stamped(10 + i, i % 2 ? 100 : kLarge));
        put(store, name("new, with a key too long to lie in its record, however much room there may be", i),
            stamped(i, i % 2 ? 100 : kLarge));
    }
    put(store, "new", stamped(1, 100), 1, "a new topic");
    Fetched copied;
    store.get("replaced0", false, copied);
    copied.release();
    store.remove("replaced1");
}

void take_and_expire(Store &store) {
    take(store, "topic");
    take(store, "topic");
    put_for(store, "short-lived", 1);
    put_for(store, "another", 1);
    store.size();
    put_for(store, "long-lived", 3'600'000'000'000);
    Fetched out;
    std::string key;
    store.wait("nothing", true, out, {in_ms(1)});
    store.take_wait("nothing", key, out, {in_ms(1)});
}

void hold_memory(Store &store) {
    HeldPointer written, dropped;
    store.reserve("replaced0", kLarge, written);
    const std::string value = stamped(20, kLarge);
    std::memcpy(written->memory().data(), value.data(), value.size());
    store.commit({"replaced0", 1}, *written);
    store.reserve("dropped", kLarge, dropped);
    dropped.reset();
    Fetched out;
    store.get("kept1", false, out, Mode::Wait, true);
    const HeldPointer read = out.keep();
    store.get("replaced1", true, out, Mode::Wait, true);
    const HeldPointer consumed = out.keep();
    std::vector<std::string> arrived;
    Watch watch(store);
    watch.add("kept0");
    watch.add("nothing");
    watch.next(arrived, {0});
    watch.next(arrived, {in_ms(1)});
}

/// Fills the store until something must go.
void overflow(Store &store) {
    for (std::uint32_t i = 0; i < 16; ++i) {
        try {
            put(store, name("filler", i), stamped(i, i % 2 ? 2'000 : kLarge));
        } catch (const Error &error) {
            if (error.kind() != ErrorKind::Full) throw;
            store.remove(name("filler", i - 2));
        }
    }
}

/// Meets everything that a dead process may have left.
void repair(Store &store) {
    for (std::uint32_t i = 0; i < store.segment().layout().shards; ++i)
        lock_shard(store.segment(), i, Mode::Wait);
    try {
        put(store, "repaired", stamped(1, 2 * kLarge), 0, "repairers");
    } catch (const Error &error) {
        if (error.kind() != ErrorKind::Full) throw;
    }
    store.processes();
    store.remove("repaired");
}

void check_foundation(Store &store) {
    for (std::uint32_t i = 0; i < 5; ++i) {
        CHECK(get(store, name("kept", i)) == stamped(i, i % 2 ? kLarge : 100));
        // Unless the scenario removed it, what was there or what replaced it.
        const auto value = get(store, name("replaced", i));
        if (i != 1) REQUIRE(value);
        if (value) CHECK(is_stamped(*value));
    }
    for (const std::string &key : store.keys()) CHECK(is_stamped(*get(store, key)));
    std::vector<std::string> left;
    while (const auto key = take(store, "topic")) left.push_back(*key);
    // In order, and none missing from the middle.
    for (std::size_t i = 0; i < left.size(); ++i) CHECK(left[i] == name("queued", left.size() - 1 - i));
    CHECK(left.size() >= 3);
}

void check_nothing_leaked(Store &store) {
    store.clear();
    CHECK(store.size() == 0);
    CHECK(store.stats().bytes_used == 0);
    CHECK(all_memory_is_free(store));
    CHECK(store.stats().waiters == 0);
    CHECK(store.stats().blocked == 0);
    CHECK(store.stats().processes == 1);
    if (store.segment().config().max_entries) CHECK(store.segment().header().entries == 0);
}

/// Kills at every point of `scenario`, and at some of each repair; the number of points.
std::uint32_t kill_everywhere(std::uint64_t max_bytes, std::uint32_t max_entries, Policy policy,
                              void (*scenario)(Store &)) {
    for (std::uint32_t point = 1;; point += kStride) {
        Store store(Process::create(max_bytes, max_entries, policy), true);
        lay_foundation(store);
        const bool killed = killed_at(point, [&] { scenario(store); });
        // Repairers that die one after the other, each further on.
        for (std::uint32_t step = 1; killed_at(step, [&] { repair(store); }); step += 1 + step / 2) continue;
        INFO("fault point ", point);
        if (scenario != overflow || policy != Policy::Evict) check_foundation(store);
        check_nothing_leaked(store);
        if (!killed) return point - 1;
    }
}

}  // namespace

TEST_CASE("managed faults: writing and reading") {
    MESSAGE("fault points: ", kill_everywhere(4 << 20, 0, Policy::Raise, write_and_read));
}

TEST_CASE("managed faults: taking, waiting and expiring") {
    MESSAGE("fault points: ", kill_everywhere(4 << 20, 1'000, Policy::Raise, take_and_expire));
}

TEST_CASE("managed faults: what a taker took is in its claim, or was not taken") {
    struct Shared {
        Claim claim;
        std::atomic<std::uint64_t> done;
    };
    constexpr std::uint64_t kTasks = 3;
    for (std::uint32_t point = 1;; ++point) {
        Store store(Process::create(4 << 20, 0, Policy::Raise), true);
        for (std::uint64_t task = 1; task <= kTasks; ++task) put(store, std::to_string(task), "task");
        void *const memory =
            mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        Shared &shared = *new (memory) Shared{};
        const bool killed = killed_at(point, [&] {
            Fetched out;
            std::string key;
            while (store.take({}, key, out, Mode::Wait, &shared.claim) == Outcome::Done)
                shared.done.store(std::stoull(key));
        });
        INFO("fault point ", point);
        // Tasks are taken in order: those up to `done` were done, and one more may have been taken.
        const std::uint64_t done = shared.done.load(), claimed = shared.claim.number.load();
        CHECK((claimed == done || claimed == done + 1));
        for (std::uint64_t task = 1; task <= kTasks; ++task) {
            INFO("task ", task);
            const bool there = store.contains(std::to_string(task)) == Outcome::Done;
            if (task <= done) CHECK_FALSE(there);
            if (task > done) CHECK((there || claimed == task));
        }
        munmap(memory, sizeof(Shared));
        if (!killed) {
            CHECK(done == kTasks);
            MESSAGE("fault points: ", point - 1);
            break;
        }
    }
}

TEST_CASE("managed faults: memory that is held") {
    MESSAGE("fault points: ", kill_everywhere(4 << 20, 1'000, Policy::Evict, hold_memory));
}

TEST_CASE("managed faults: a full store") {
    MESSAGE("fault points: ", kill_everywhere(1 << 20, 0, Policy::Raise, overflow));
}

TEST_CASE("managed faults: evicting") {
    MESSAGE("fault points: ", kill_everywhere(1 << 20, 22, Policy::Evict, overflow));
}

#endif
