// Client and Batch against a real server; the stress at the end is what the thread sanitizer is for.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <latch>
#include <string>
#include <thread>
#include <vector>

#include "http_server.h"
#include "net/batch.h"
#include "net/client.h"
#include "net_requests.h"

using namespace offgil::net;

TEST_CASE("one connection serves one thread") {
    HttpServer server;
    Client client({});
    for (int i = 0; i < 5; ++i)
        CHECK(body_of(client.perform(request("PUT", server.url("/x"), "body"), {})) == "PUT /x body");
    CHECK(server.connections() == 1);
}

TEST_CASE("a dropped POST is not repeated, a dropped GET is, once") {
    HttpServer server;
    Client client({});
    client.perform(request("GET", server.url("/once")), {});
    CHECK(
        failed_as(client.perform(request("POST", server.url("/x"), "body"), {}), ErrorKind::remote_protocol));
    CHECK(server.requests() == 2);
    client.perform(request("GET", server.url("/once")), {});
    CHECK(body_of(client.perform(request("GET", server.url("/x")), {})) == "GET /x ");
    CHECK(server.requests() == 5);
    // Dropped on a fresh connection: nothing to repeat.
    CHECK(failed_as(client.perform(request("GET", server.url("/drop")), {}), ErrorKind::remote_protocol));
}

TEST_CASE("the read limit ends a stalled call and the client goes on") {
    HttpServer server;
    Client client({});
    Request stalled = request("GET", server.url("/stall"));
    stalled.timeouts.read = 30 * kMillisecond;
    CHECK(failed_as(client.perform(stalled, {}), ErrorKind::read_timeout));
    CHECK(body_of(client.perform(request("GET", server.url("/x")), {})) == "GET /x ");
}

TEST_CASE("the interrupt hook ends a stalled call") {
    HttpServer server;
    Client client({});
    int asked = 0;
    auto third_time = [](void *context) { return ++*static_cast<int *>(context) == 3; };
    Interrupt interrupt{third_time, &asked, 5 * kMillisecond};
    CHECK(failed_as(client.perform(request("GET", server.url("/stall")), interrupt), ErrorKind::interrupted));
    CHECK(asked == 3);
    Batch batch(client, 4);
    batch.add(request("GET", server.url("/stall")), 1);
    bool interrupted = false;
    asked = 0;
    CHECK(batch.wait(kNever, interrupt, interrupted).empty());
    CHECK(interrupted);
}

TEST_CASE("a batch hands out each completion once") {
    HttpServer server;
    Client client({});
    Batch batch(client, 8);
    std::vector<int> seen(200, 0);
    std::size_t next = 0, running = 0;
    while (next < seen.size() || running) {
        for (; running < 8 && next < seen.size(); ++next, ++running)
            batch.add(request("GET", server.url("/" + std::to_string(next))), next);
        bool interrupted = false;
        for (auto &[tag, result] : batch.wait(kNever, {}, interrupted)) {
            CHECK(body_of(result) == "GET /" + std::to_string(tag) + " ");
            ++seen[tag];
            --running;
        }
    }
    for (int count : seen) CHECK(count == 1);
    CHECK(server.connections() <= 8);
}

TEST_CASE("a batch returns at its deadline with nothing") {
    HttpServer server;
    Client client({});
    Batch batch(client, 1);
    bool interrupted = false;
    CHECK(batch.wait(monotonic_now() + 5 * kMillisecond, {}, interrupted).empty());
    batch.add(request("GET", server.url("/stall")), 7);
    CHECK(batch.wait(monotonic_now() + 5 * kMillisecond, {}, interrupted).empty());
    CHECK(batch.usable());
}

TEST_CASE("close wakes every call and batch") {
    HttpServer server;
    Client client({});
    std::atomic<int> closed{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            closed += failed_as(client.perform(request("GET", server.url("/stall")), {}), ErrorKind::closed);
        });
    threads.emplace_back([&] {
        Batch batch(client, 2);
        batch.add(request("GET", server.url("/stall")), 1);
        bool interrupted = false;
        closed += batch.wait(kNever, {}, interrupted).empty() && !batch.usable();
    });
    while (server.requests() < 5) std::this_thread::yield();
    client.close();
    for (std::thread &thread : threads) thread.join();
    CHECK(closed == 5);
    CHECK(failed_as(client.perform(request("GET", server.url("/x")), {}), ErrorKind::closed));
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
TEST_CASE("forks amid traffic") {
    MESSAGE("not run: the sanitizers' own locks do not survive a fork of a program with threads");
}
#else
TEST_CASE("forks amid traffic leave the parent alone and give the child connections of its own") {
    HttpServer server;
    Client client({});
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t)
        threads.emplace_back([&, t] {
            for (int i = 0; !done; ++i) {
                std::string path = "/" + std::to_string(t) + "-" + std::to_string(i);
                wrong += body_of(client.perform(request("GET", server.url(path)), {})) != "GET " + path + " ";
            }
        });
    for (int i = 0; i < 20; ++i) {
        pid_t pid = ::fork();
        if (pid == 0) {
            std::string path = "/child-" + std::to_string(i);
            bool right = body_of(client.perform(request("GET", server.url(path)), {})) == "GET " + path + " ";
            ::_exit(right ? 0 : 1);
        }
        int status = -1;
        ::waitpid(pid, &status, 0);
        CHECK(status == 0);
    }
    done = true;
    for (std::thread &thread : threads) thread.join();
    CHECK(wrong == 0);
}
#endif

TEST_CASE("stress: calls, batches, timeouts, drops and a close, all at once") {
    HttpServer server;
    for (int round = 0; round < 3; ++round) {
        Client client({});
        std::atomic<int> wrong{0}, answered{0};
        std::latch start(7);
        std::vector<std::thread> threads;
        for (int t = 0; t < 4; ++t)
            threads.emplace_back([&, t] {
                start.arrive_and_wait();
                for (int i = 0; !client.closed(); ++i) {
                    std::string path = i % 17 == 5   ? "/drop"
                                       : i % 29 == 7 ? "/stall"
                                                     : "/" + std::to_string(t);
                    std::string body = std::to_string(i);
                    Request sent = request("POST", server.url(path), body);
                    sent.timeouts.read = 20 * kMillisecond;
                    Result result = client.perform(sent, {});
                    if (!std::holds_alternative<Response>(result)) continue;
                    ++answered;
                    wrong += body_of(result) != "POST " + path + " " + body;
                }
            });
        for (int t = 0; t < 2; ++t)
            threads.emplace_back([&] {
                start.arrive_and_wait();
                Batch batch(client, 8);
                std::uint64_t tag = 0;
                std::size_t running = 0;
                while (batch.usable()) {
                    for (; running < 8; ++running, ++tag)
                        batch.add(request("GET", server.url("/" + std::to_string(tag))), tag);
                    bool interrupted = false;
                    for (auto &[done, result] : batch.wait(kNever, {}, interrupted)) {
                        --running;
                        if (!std::holds_alternative<Response>(result)) continue;
                        ++answered;
                        wrong += body_of(result) != "GET /" + std::to_string(done) + " ";
                    }
                }
            });
        start.arrive_and_wait();
        while (answered < 500) std::this_thread::yield();
        client.close();
        for (std::thread &thread : threads) thread.join();
        CHECK(wrong == 0);
    }
}
