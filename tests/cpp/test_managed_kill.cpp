// The managed-dict store and SIGKILL, with real processes.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "managed_fixture.h"
#include "store/managed/watch.h"

using namespace managed_test;

// ThreadSanitizer does not see other processes and slows down fork without finding anything here.
#ifndef __SANITIZE_THREAD__

namespace {

/// What the children report, in memory that is not the store's.
struct Board {
    std::atomic<std::uint64_t> steps[16];
    std::atomic<std::uint32_t> torn, errors;
};

Board &make_board() {
    void *memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    return *static_cast<Board *>(memory);
}

pid_t fork_child(const std::function<void()> &work) {
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        work();
        _exit(0);
    }
    return pid;
}

void kill_and_wait(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
}

/// Little but locking: a kill mostly lands inside a lock.
void hammer_locks(Store &store, Board &board, std::uint32_t slot, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::string keys[16];
    for (std::string &key : keys) key = name("key", random() % 12);
    const std::string value = stamped(seed, 3'000);
    for (;; board.steps[slot].fetch_add(1)) {
        Fetched out;
        std::string taken;
        Outcome outcome = Outcome::Absent;
        try {
            put(store, keys[random() % 16], value, static_cast<std::uint8_t>(random() % 64));
            outcome = random() % 2 ? store.get(keys[random() % 16], true, out) : store.take({}, taken, out);
        } catch (const Error &error) {
            if (error.kind() != ErrorKind::Full) board.errors.fetch_add(1);
        }
        // Comparing takes longer than the locks, so not each time.
        if (outcome == Outcome::Done && random() % 16 == 0 && !is_stamped(text(out))) board.torn.fetch_add(1);
    }
}

void hammer(Store &store, Board &board, std::uint32_t slot, std::uint32_t seed) {
    std::mt19937 random(seed);
    for (std::uint32_t i = 0;; ++i) {
        try {
            const std::string key =
                name("key", random() % 12) +
                (random() % 4 ? "" : " that is longer than a record has room for it inline");
            const std::size_t size = random() % 4 ? random() % 300 : random() % 80'000;
            Fetched out;
            std::string taken;
            Outcome outcome = Outcome::Absent;
            switch (random() % 9) {
                case 0:
                case 1:
                    put(store, key, stamped(i, size), static_cast<std::uint8_t>(random() % 64));
                    break;
                case 2:
                    outcome = store.get(key, random() % 2 == 0, out);
                    break;
                case 3:
                    outcome = store.take({}, taken, out);
                    break;
                case 4:
                    outcome = store.wait(key, true, out, {monotonic_ns() + 30'000});
                    break;
                case 5: {
                    HeldPointer held;
                    const std::string value = stamped(i, size);
                    store.reserve(key, value.size(), held);
                    std::memcpy(held->memory().data(), value.data(), value.size());
                    if (random() % 4) store.commit({key, 1}, *held);
                    break;
                }
                case 6: {
                    outcome = store.get(key, random() % 2 == 0, out, Mode::Wait, true);
                    if (outcome != Outcome::Done) break;
                    const HeldPointer held = out.keep();
                    const std::string seen(reinterpret_cast<const char *>(held->memory().data()),
                                           held->memory().size());
                    if (!is_stamped(seen)) board.torn.fetch_add(1);
                    outcome = Outcome::Absent;
                    break;
                }
                case 7: {
                    Watch watch(store);
                    std::vector<std::string> arrived;
                    for (int n = 0; n < 4; ++n) watch.add(name("key", random() % 12));
                    watch.next(arrived, {monotonic_ns() + 30'000});
                    break;
                }
                default: {
                    const std::string value = stamped(i, size);
                    const std::span<const std::byte> part = std::as_bytes(std::span(value));
                    store.put({key, 1, Kind::Value, 0, {}, 100'000, false}, {&part, 1});
                }
            }
            if (outcome == Outcome::Done && !is_stamped(text(out))) board.torn.fetch_add(1);
        } catch (const Error &error) {
            // Killed readers and writers hold memory until somebody runs out of it and reaps them.
            if (error.kind() != ErrorKind::Full) board.errors.fetch_add(1);
        }
        board.steps[slot].fetch_add(1);
    }
}

}  // namespace

TEST_CASE("managed kill: survivors go on, whatever a killed process was doing") {
    // ci/soak asks for many more, and for a bound on the longest pause that only a quiet machine can keep.
    const char *soak = std::getenv("OFFGIL_KILLS");
    constexpr std::uint32_t children = 3;
    const std::uint32_t kills = soak ? static_cast<std::uint32_t>(std::stoul(soak)) : 400;
    std::int64_t longest = 0;
    Board &board = make_board();
    // Few shards and a small store: most of the time somebody is inside a lock, and memory is reused at once.
    Store store(Process::create(4 << 20, 1'000), true);
    std::mt19937 random(7);
    std::vector<pid_t> pids(children);
    const auto start = [&](std::uint32_t slot) {
        const std::uint32_t seed = static_cast<std::uint32_t>(random());
        pids[slot] =
            fork_child([&, slot, seed] { (slot ? hammer_locks : hammer)(store, board, slot, seed); });
    };
    for (std::uint32_t slot = 0; slot < children; ++slot) start(slot);
    std::uint32_t stuck = 0;
    for (std::uint32_t i = 0; i < kills && !stuck; ++i) {
        usleep(static_cast<useconds_t>(random() % 1'000));
        const std::uint32_t victim = static_cast<std::uint32_t>(random() % children);
        kill_and_wait(pids[victim]);
        // Each survivor finishes another operation.
        for (std::uint32_t slot = 0; slot < children; ++slot) {
            if (slot == victim) continue;
            const std::uint64_t before = board.steps[slot].load();
            const std::int64_t began = monotonic_ns(), deadline = in_ms(20'000);
            while (board.steps[slot].load() == before && monotonic_ns() < deadline) usleep(50);
            stuck += board.steps[slot].load() == before;
            longest = std::max(longest, monotonic_ns() - began);
        }
        start(victim);
    }
    for (const pid_t pid : pids) kill_and_wait(pid);
    CHECK(stuck == 0);
    CHECK(board.torn == 0);
    CHECK(board.errors == 0);
    MESSAGE("kills: ", kills, ", locks taken over from a dead owner: ", store.stats().repairs,
            ", longest pause of a survivor in ms: ", longest / 1'000'000);
    if (soak) CHECK(longest < 1'000'000'000);
    CHECK(store.stats().repairs > 0);

    for (const std::string &key : store.keys()) CHECK(is_stamped(*get(store, key)));
    store.clear();
    CHECK(store.size() == 0);
    CHECK(store.stats().bytes_used == 0);
    // Needs what the dead had pinned and were building.
    CHECK(all_memory_is_free(store));
    CHECK(store.stats().waiters == 0);
    munmap(&board, sizeof board);
}

TEST_CASE("managed kill: a dead owner of each lock is noticed and its lock repaired") {
    Store store(Process::create(64 << 20, 10'000), true);
    const Segment &segment = store.segment();
    for (int i = 0; i < 500; ++i)
        put(store, std::to_string(i), stamped(static_cast<std::uint32_t>(i), 100), 0, "t");
    std::vector<Mutex *> locks{&segment.header().page_lock, &segment.header().topic_lock};
    for (std::uint32_t i = 0; i < segment.layout().shards; ++i) locks.push_back(&segment.shard(i).lock);
    for (Mutex *lock : locks) waitpid(fork_child([lock] { pthread_mutex_lock(&lock->native); }), nullptr, 0);
    const Stats before = store.stats();
    for (int i = 0; i < 500; ++i)
        REQUIRE(get(store, std::to_string(i)) == stamped(static_cast<std::uint32_t>(i), 100));
    CHECK(put(store, "large", std::string(100'000, 'x'), 0, "a new topic") == Outcome::Done);
    CHECK(store.stats().repairs == segment.layout().shards + 1);
    CHECK(store.stats().entries == before.entries + 1);
    CHECK(store.stats().bytes_used == before.bytes_used + 100'000);
    for (int i = 0; i < 500; ++i) REQUIRE(take(store, "t") == std::to_string(i));
    store.clear();
    CHECK(all_memory_is_free(store));
}

TEST_CASE("managed kill: killed waiters wedge nobody and are reaped") {
    Store store(Process::create(64 << 20, 10'000), true);
    std::vector<pid_t> pids;
    for (int i = 0; i < 20; ++i)
        pids.push_back(fork_child([&, i] {
            Fetched out;
            std::string key;
            if (i % 2)
                store.wait("key", false, out, {kNoDeadline});
            else
                store.take_wait("topic", key, out, {kNoDeadline});
        }));
    while (store.stats().waiters < 20) usleep(100);
    for (const pid_t pid : pids) kill_and_wait(pid);
    // Their marks are still there: this put has only dead ones to wake.
    const pid_t taker = fork_child([&] {
        Fetched out;
        std::string key;
        _exit(store.take_wait("topic", key, out, {in_ms(10'000)}) == Outcome::Done ? 0 : 1);
    });
    while (store.stats().waiters == 0) usleep(100);
    usleep(5'000);
    CHECK(put(store, "key", "value", 0, "topic") == Outcome::Done);
    int status = -1;
    waitpid(taker, &status, 0);
    CHECK(status == 0);
    // A new process reaps the slots that it finds.
    for (int i = 0; i < 22; ++i) waitpid(fork_child([&] { store.contains("key"); }), nullptr, 0);
    pids.clear();
    for (int i = 0; i < 22; ++i)
        pids.push_back(fork_child([&] {
            store.contains("key");
            for (;;) pause();
        }));
    const std::int64_t deadline = in_ms(10'000);
    while (store.stats().waiters && monotonic_ns() < deadline) usleep(100);
    CHECK(store.stats().waiters == 0);
    for (const pid_t pid : pids) kill_and_wait(pid);
}

TEST_CASE("managed kill: a child of fork is a process of its own") {
    Store store(Process::create(64 << 20, 10'000), true);
    put(store, "a", stamped(1, 100'000));
    Fetched pinned;
    REQUIRE(store.get("a", false, pinned) == Outcome::Done);
    int status = -1;
    waitpid(fork_child([&] {
                const bool same = get(store, "a") == stamped(1, 100'000);
                put(store, "from the child", "hello");
                store.close();
                _exit(same && store.closed() ? 0 : 1);
            }),
            &status, 0);
    CHECK(status == 0);
    CHECK_FALSE(store.closed());
    CHECK(*get(store, "from the child") == "hello");
    // The child's copy of the pin was no pin.
    store.clear();
    CHECK(text(pinned) == stamped(1, 100'000));
    pinned.release();
    CHECK(all_memory_is_free(store));
}

#endif
