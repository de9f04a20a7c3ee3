// Stream against a real server; the stress at the end is what the thread sanitizer is for.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "http_server.h"
#include "net/stream.h"
#include "net_requests.h"

using namespace offgil::net;

namespace {

struct Read {
    std::string bytes;
    std::optional<Error> error;
};

/// Reads to the end, or until `most` bytes are there.
Read read(Stream &stream, std::size_t most = std::string::npos) {
    Read result;
    while (result.bytes.size() < most) {
        auto outcome = stream.next({});
        if (auto *error = std::get_if<Error>(&outcome)) {
            result.error = *error;
            return result;
        }
        auto piece = std::get<std::string_view>(outcome);
        if (piece.empty()) break;
        result.bytes += piece;
    }
    return result;
}

bool fails_as(Stream &stream, ErrorKind kind) {
    auto outcome = stream.next({});
    auto *error = std::get_if<Error>(&outcome);
    return error && error->kind == kind;
}

}  // namespace

TEST_CASE("a stream hands out its body and then its connection") {
    HttpServer server;
    Client client({});
    for (int i = 0; i < 5; ++i) {
        Stream stream(client, get(server.url("/pieces")));
        CHECK(!stream.open({}));
        CHECK(stream.head().status == 200);
        Read all = read(stream);
        CHECK(all.bytes == "piecepiecepiecepiecepiece");
        CHECK(!all.error);
        CHECK(!stream.waits());
        CHECK(std::get<std::string_view>(stream.next({})).empty());
        CHECK(stream.head().headers.find("X-Late").empty());
    }
    CHECK(server.connections() == 1);
}

TEST_CASE("a whole body that came with the head leaves the slot to others") {
    HttpServer server;
    Client client({});
    Stream first(client, get(server.url("/first")));
    CHECK(!first.open({}));
    CHECK(!first.waits());
    Stream second(client, get(server.url("/second")));
    CHECK(!second.open({}));
    CHECK(server.connections() == 1);
    CHECK(read(first).bytes == "GET /first ");
    CHECK(read(second).bytes == "GET /second ");
}

TEST_CASE("an endless body comes in pieces that are bounded, and may be left") {
    HttpServer server;
    Client client({});
    for (int i = 0; i < 3; ++i) {
        Stream stream(client, get(server.url("/endless")));
        CHECK(!stream.open({}));
        std::size_t largest = 0;
        for (std::size_t total = 0; total < 20'000'000;) {
            auto piece = std::get<std::string_view>(stream.next({}));
            REQUIRE(!piece.empty());
            largest = std::max(largest, piece.size());
            total += piece.size();
        }
        CHECK(largest < 256 * 1024);
        stream.close();
        CHECK(fails_as(stream, ErrorKind::stream_closed));
        CHECK(fails_as(stream, ErrorKind::stream_closed));
    }
    CHECK(server.connections() == 3);
}

TEST_CASE("what came before a failure is handed out, the failure again and again") {
    HttpServer server;
    Client client({});
    Stream cut(client, get(server.url("/cut")));
    CHECK(!cut.open({}));
    Read got = read(cut);
    CHECK(got.bytes == "short");
    CHECK(got.error->kind == ErrorKind::remote_protocol);
    CHECK(fails_as(cut, ErrorKind::remote_protocol));
    cut.close();
    CHECK(fails_as(cut, ErrorKind::remote_protocol));

    Request stall = get(server.url("/stall"));
    stall.timeouts.read = 30 * kMillisecond;
    Stream stalled(client, std::move(stall));
    CHECK(stalled.open({})->kind == ErrorKind::read_timeout);
    Stream dropped(client, get(server.url("/drop")));
    CHECK(dropped.open({})->kind == ErrorKind::remote_protocol);
}

TEST_CASE("an interrupt ends the wait for a head") {
    HttpServer server;
    Client client({});
    int asked = 0;
    auto third_time = [](void *context) { return ++*static_cast<int *>(context) == 3; };
    Stream stream(client, get(server.url("/stall")));
    CHECK(stream.open({third_time, &asked, 5 * kMillisecond})->kind == ErrorKind::interrupted);
    CHECK(asked == 3);
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
TEST_CASE("a stream across a fork") {
    MESSAGE("not run: the sanitizers' own locks do not survive a fork of a program with threads");
}
#else
TEST_CASE("a forked child refuses and leaves the stream to its parent") {
    HttpServer server;
    Client client({});
    auto stream = std::make_unique<Stream>(client, get(server.url("/endless")));
    CHECK(!stream->open({}));
    CHECK(read(*stream, 1).bytes.size() > 0);
    pid_t pid = ::fork();
    if (pid == 0) {
        bool refused = fails_as(*stream, ErrorKind::closed);
        stream.reset();
        ::_exit(refused ? 0 : 1);
    }
    int status = -1;
    ::waitpid(pid, &status, 0);
    CHECK(status == 0);
    CHECK(read(*stream, 1'000'000).bytes.size() >= 1'000'000);
}
#endif

TEST_CASE("stress: streams read, left, broken, late and cancelled by a close, all at once") {
    HttpServer server;
    for (int round = 0; round < 3; ++round) {
        Client client({});
        std::atomic<int> wrong{0}, answered{0};
        std::latch start(7);
        std::vector<std::thread> threads;
        for (int t = 0; t < 6; ++t)
            threads.emplace_back([&, t] {
                static const std::vector<std::string> paths{"/pieces", "/endless", "/cut", "/once", "/stall"};
                start.arrive_and_wait();
                for (std::size_t i = static_cast<std::size_t>(t); !client.closed(); ++i) {
                    const std::string &path = paths[i % paths.size()];
                    Request made = get(server.url(path));
                    if (path == "/stall") made.timeouts.read = 5 * kMillisecond;
                    Stream stream(client, std::move(made));
                    if (stream.open({})) continue;
                    Read got = read(stream, path == "/endless" ? 100'000 : std::string::npos);
                    if (i % 3 == 0) stream.close();
                    if (got.error) {
                        wrong += got.error->kind != ErrorKind::closed && path != "/cut";
                        continue;
                    }
                    ++answered;
                    if (path == "/pieces") wrong += got.bytes != "piecepiecepiecepiecepiece";
                    if (path == "/once") wrong += got.bytes != "GET /once ";
                }
            });
        // One stream is waiting for a server that says nothing more, one is being read, when the close comes.
        threads.emplace_back([&] {
            Stream waiting(client, get(server.url("/stall")));
            start.arrive_and_wait();
            wrong += waiting.open({})->kind != ErrorKind::closed;
        });
        while (answered < 300) std::this_thread::yield();
        client.close();
        for (std::thread &thread : threads) thread.join();
        CHECK(wrong == 0);
    }
}
