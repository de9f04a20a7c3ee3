// Limits and cancelling, against a real server; the stress at the end is what the thread sanitizer is for.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "http_server.h"
#include "net/batch.h"
#include "net/client.h"
#include "net_requests.h"

using namespace offgil::net;

TEST_CASE("a token ends a running call, a waiting one and a pause, and refuses later ones") {
    HttpServer server;
    Client client(at_most(1));
    auto token = std::make_shared<CancelToken>();
    std::atomic<int> cancelled{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([&] {
            cancelled +=
                failed_as(client.perform(get(server.url("/stall"), token), {}), ErrorKind::cancelled);
        });
    threads.emplace_back([&] {
        cancelled += client.pool().pause({kNever, {}, token}) == ErrorKind::cancelled;
    });
    while (server.requests() < 1) std::this_thread::yield();
    token->cancel();
    for (std::thread &thread : threads) thread.join();
    CHECK(cancelled == 4);
    CHECK(failed_as(client.perform(get(server.url("/x"), token), {}), ErrorKind::cancelled));
    CHECK(std::holds_alternative<Response>(client.perform(get(server.url("/x")), {})));
}

struct Woken : Wakeable {
    bool woken = false;
    void wake() override { woken = true; }
};

/// Forks where its token's lock is held.
struct Forking : Wakeable {
    std::shared_ptr<CancelToken> token = std::make_shared<CancelToken>();
    std::optional<CancelToken::Link> link{std::in_place, token, *this};
    pid_t child = -1;

    void wake() override {
        child = ::fork();
        if (child != 0) return;
        ::alarm(20);
        token->cancel();
        Woken own;
        {
            CancelToken::Link late(token, own);
            link.reset();
        }
        ::_exit(own.woken && token->cancelled() ? 0 : 1);
    }
};

TEST_CASE("a forked child uses a token whose lock its parent holds") {
    Forking sleeper;
    sleeper.token->cancel();
    int status = -1;
    ::waitpid(sleeper.child, &status, 0);
    CHECK(status == 0);
}

TEST_CASE("a token ends its requests in a batch and no others") {
    HttpServer server;
    Client client({});
    auto token = std::make_shared<CancelToken>();
    Batch batch(client, 4);
    batch.add(get(server.url("/stall"), token), 1);
    batch.add(get(server.url("/stall"), token), 2);
    batch.add(get(server.url("/stall")), 3);
    std::thread canceller([&] {
        while (server.requests() < 3) std::this_thread::yield();
        token->cancel();
    });
    bool interrupted = false;
    std::size_t ended = 0;
    while (ended < 2)
        for (auto &[tag, result] : batch.wait(kNever, {}, interrupted)) {
            CHECK(tag != 3);
            CHECK(failed_as(result, ErrorKind::cancelled));
            ++ended;
        }
    canceller.join();
    batch.add(get(server.url("/x"), token), 4);
    auto done = batch.wait(kNever, {}, interrupted);
    REQUIRE(done.size() == 1);
    CHECK(failed_as(done[0].result, ErrorKind::cancelled));
    CHECK(client.pool().counters().read().in_flight == 1);
}

TEST_CASE("waiting for a connection ends at its limits and at the interrupt hook") {
    HttpServer server;
    Client client(at_most(1));
    auto token = std::make_shared<CancelToken>();
    std::thread holder([&] { client.perform(get(server.url("/stall"), token), {}); });
    while (server.requests() < 1) std::this_thread::yield();
    Request request = get(server.url("/x"));
    request.timeouts.pool = 5 * kMillisecond;
    CHECK(failed_as(client.perform(request, {}), ErrorKind::pool_timeout));
    request.timeouts = {};
    request.timeouts.total = 5 * kMillisecond;
    CHECK(failed_as(client.perform(request, {}), ErrorKind::deadline));
    request.timeouts = {};
    Interrupt interrupt{[](void *) { return true; }, nullptr, 5 * kMillisecond};
    CHECK(failed_as(client.perform(request, interrupt), ErrorKind::interrupted));
    token->cancel();
    holder.join();
    CHECK(std::holds_alternative<Response>(client.perform(request, {})));
    const Counts counts = client.pool().counters().read();
    CHECK(counts.requests == 5);
    CHECK(counts.in_flight == 0);
    CHECK(counts.errors[static_cast<std::size_t>(ErrorKind::pool_timeout)] == 1);
}

TEST_CASE("stress: few connections, many callers, cancels and limits, and a close") {
    HttpServer server;
    for (int round = 0; round < 3; ++round) {
        Client client(at_most(3));
        std::atomic<int> answered{0}, over{0};
        std::atomic<bool> done{false};
        std::latch start(8);
        std::vector<std::thread> threads;
        std::vector<std::shared_ptr<CancelToken>> tokens(7);
        std::mutex tokens_mutex;
        for (std::size_t t = 0; t < 6; ++t)
            threads.emplace_back([&, t] {
                start.arrive_and_wait();
                for (int i = 0; !client.closed(); ++i) {
                    auto token = std::make_shared<CancelToken>();
                    {
                        std::lock_guard lock(tokens_mutex);
                        tokens[t] = token;
                    }
                    Request request = get(server.url(i % 7 == 3 ? "/stall" : "/x"), token);
                    request.timeouts.pool = 3 * kMillisecond;
                    request.timeouts.total = 10 * kMillisecond;
                    answered += std::holds_alternative<Response>(client.perform(request, {}));
                    over += client.pool().counters().read().in_flight > 6;
                }
            });
        threads.emplace_back([&] {
            start.arrive_and_wait();
            for (std::size_t t = 0; !done; t = (t + 1) % tokens.size()) {
                std::shared_ptr<CancelToken> token;
                {
                    std::lock_guard lock(tokens_mutex);
                    token = tokens[t];
                }
                if (token) token->cancel();
                std::this_thread::sleep_for(std::chrono::microseconds(300));
            }
        });
        start.arrive_and_wait();
        while (answered < 200) std::this_thread::yield();
        done = true;
        client.close();
        for (std::thread &thread : threads) thread.join();
        CHECK(over == 0);
        CHECK(client.pool().counters().read().in_flight == 0);
    }
}
