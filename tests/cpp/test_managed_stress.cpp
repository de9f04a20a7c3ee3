// The managed-dict store under contention: logical processes as threads of one real one, so that
// ThreadSanitizer sees all of them.
#include <doctest/doctest.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "managed_fixture.h"

using namespace managed_test;

namespace {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr std::uint32_t kRounds = 1'500;
#else
constexpr std::uint32_t kRounds = 10'000;
#endif

void run_threads(std::uint32_t count, const std::function<void(std::uint32_t)> &work) {
    std::vector<std::thread> threads;
    for (std::uint32_t i = 0; i < count; ++i) threads.emplace_back(work, i);
    for (std::thread &thread : threads) thread.join();
}

}  // namespace

TEST_CASE("managed stress: everything against everything, no value torn, no memory lost") {
    const auto segment = make_segment(16 << 20);
    std::atomic<int> torn{0}, full{0};
    run_threads(4, [&](std::uint32_t thread) {
        auto store = join(segment);
        std::mt19937 random(thread);
        for (std::uint32_t i = 0; i < kRounds; ++i) {
            const std::string key = name("key", random() % 20);
            const std::size_t size = random() % 8 ? random() % 500 : random() % 100'000;
            try {
                Fetched out;
                std::string taken;
                switch (random() % 6) {
                    case 0:
                    case 1:
                        put(*store, key, stamped(i, size), static_cast<std::uint8_t>(random() % 64),
                            random() % 2 ? std::optional<std::string_view>("t") : std::nullopt,
                            random() % 4 == 0);
                        break;
                    case 2:
                        if (store->get(key, random() % 2 == 0, out, Mode::Try) == Outcome::Done)
                            torn += !is_stamped(text(out));
                        break;
                    case 3:
                        if (store->take(random() % 2 ? std::optional<std::string_view>("t") : std::nullopt,
                                        taken, out) == Outcome::Done)
                            torn += !is_stamped(text(out));
                        break;
                    case 4:
                        if (store->wait(key, true, out, {monotonic_ns() + 50'000}) == Outcome::Done)
                            torn += !is_stamped(text(out));
                        break;
                    default:
                        if (i % 500 == 0)
                            store->clear();
                        else if (auto value = get(*store, key))
                            torn += !is_stamped(*value);
                }
            } catch (const Error &error) {
                if (error.kind() != ErrorKind::Full) throw;
                ++full;
            }
        }
    });
    auto store = join(segment);
    CHECK(torn == 0);
    CHECK(full == 0);
    CHECK(store->stats().waiters == 0);
    store->clear();
    CHECK(store->stats().bytes_used == 0);
    CHECK(all_memory_is_free(*store));
}

TEST_CASE("managed stress: each entry is taken exactly once, and a producer's entries in their order") {
    constexpr std::uint32_t producers = 2, takers = 2;
    // Room for all: on a busy machine the takers may not run before the producers are done.
    const auto segment = make_segment(64 << 20, producers * kRounds);
    std::vector<std::vector<std::string>> taken(takers);
    std::atomic<std::uint32_t> left{producers * kRounds};
    std::atomic<int> late{0};
    run_threads(producers + takers, [&](std::uint32_t thread) {
        auto store = join(segment);
        if (thread < producers) {
            for (std::uint32_t i = 0; i < kRounds; ++i)
                put(*store, name(thread ? "1:" : "0:", i), "v", 3, "jobs");
            return;
        }
        Fetched out;
        std::string key;
        while (left.load() > 0) {
            if (store->take_wait("jobs", key, out, {in_ms(50)}) != Outcome::Done) continue;
            --left;
            taken[thread - producers].push_back(key);
        }
    });
    std::vector<int> seen(producers * kRounds);
    for (const auto &keys : taken) {
        std::vector<std::int64_t> last(producers, -1);
        for (const std::string &key : keys) {
            const auto producer = static_cast<std::uint32_t>(std::stoul(key));
            const std::int64_t number = std::stoll(key.substr(key.find(':') + 1));
            ++seen[producer * kRounds + static_cast<std::uint32_t>(number)];
            late += number <= last[producer];
            last[producer] = number;
        }
    }
    CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
    CHECK(late == 0);
}

TEST_CASE("managed stress: no wake-up is lost between two that hand a token back and forth") {
    const auto segment = make_segment();
    std::atomic<int> timeouts{0};
    run_threads(2, [&](std::uint32_t thread) {
        auto store = join(segment);
        const std::string mine = thread ? "ping" : "pong", theirs = thread ? "pong" : "ping";
        for (std::uint32_t i = 0; i < kRounds; ++i) {
            Fetched out;
            if (thread) put(*store, theirs, stamped(i, 100));
            // A lost wake-up is found at the end of a slice of 10 s, after the deadline.
            if (store->wait(mine, true, out, {in_ms(9'000), {nullptr, nullptr, 10'000'000'000}}) !=
                Outcome::Done)
                ++timeouts;
            if (!thread) put(*store, theirs, stamped(i, 100));
            if (timeouts) return;
        }
    });
    CHECK(timeouts == 0);
}

TEST_CASE("managed stress: no wake-up is lost with several takers") {
    const auto segment = make_segment();
    std::atomic<std::uint32_t> left{kRounds};
    std::atomic<int> timeouts{0};
    run_threads(4, [&](std::uint32_t thread) {
        auto store = join(segment);
        if (thread == 0) {
            for (std::uint32_t i = 0; i < kRounds; ++i) {
                put(*store, std::to_string(i), "v", static_cast<std::uint8_t>(i % 64));
                // Let the takers fall asleep now and then.
                if (i % 50 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
            }
            while (left.load() > 0 && timeouts == 0)
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
            store->segment().header().state.store(SegmentState::Closed);
            notify_all(store->segment(), kProcesses);
            return;
        }
        Fetched out;
        std::string key;
        try {
            for (;;) {
                if (store->take_wait({}, key, out, {in_ms(9'000), {nullptr, nullptr, 10'000'000'000}}) ==
                    Outcome::Done)
                    --left;
                else
                    ++timeouts;
            }
        } catch (const Error &error) {
            if (error.kind() != ErrorKind::Closed) throw;
        }
    });
    CHECK(timeouts == 0);
    CHECK(left == 0);
}

TEST_CASE("managed stress: close wakes every waiter of every process") {
    const auto segment = make_segment();
    auto creator = join(segment, true);
    std::atomic<int> closed{0};
    std::thread closer([&] {
        while (creator->stats().waiters < 6) std::this_thread::yield();
        creator->close();
    });
    run_threads(6, [&](std::uint32_t thread) {
        auto store = join(segment);
        Fetched out;
        std::string key;
        try {
            if (thread % 2)
                store->wait("never", false, out, {kNoDeadline, {nullptr, nullptr, 60'000'000'000}});
            else
                store->take_wait("never", key, out, {kNoDeadline, {nullptr, nullptr, 60'000'000'000}});
        } catch (const Error &error) {
            closed += error.kind() == ErrorKind::Closed;
        }
    });
    closer.join();
    CHECK(closed == 6);
}

TEST_CASE("managed stress: an interrupt ends a wait after its slice") {
    auto store = join(make_segment());
    Fetched out;
    int calls = 0;
    const Interrupt interrupt{[](void *context) { return ++*static_cast<int *>(context) == 3; }, &calls,
                              5'000'000};
    CHECK(store->wait("never", false, out, {kNoDeadline, interrupt}) == Outcome::Interrupted);
    CHECK(calls == 3);
}
