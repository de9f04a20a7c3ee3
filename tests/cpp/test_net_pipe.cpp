// Bodies that a feeder brings to the engine's thread, and answers that nobody has read.
#include <doctest/doctest.h>
#include <poll.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "http_server.h"
#include "net/client.h"
#include "net/engine.h"
#include "net/pipe.h"
#include "net_requests.h"

using namespace offgil::net;

namespace {

struct Fed {
    Fed(const std::string &url, std::optional<std::uint64_t> size) : request(::request("POST", url)) {
        request.pipe = pipe;
        request.upload = std::make_shared<FedUpload>(size, FedUpload::Source{&Pipe::pour, pipe.get()});
    }
    std::shared_ptr<Pipe> pipe = std::make_shared<Pipe>();
    Request request;
};

std::vector<Event> wait(Mailbox &mailbox) {
    pollfd ready{mailbox.descriptor(), POLLIN, 0};
    ::poll(&ready, 1, -1);
    return mailbox.take();
}

/// Brings `pieces` as the engine asks for them, and returns the answer's body.
std::string feed(Engine &engine, const std::string &url, int pieces, bool announced = true) {
    auto mailbox = std::make_shared<Mailbox>();
    Fed fed(url, announced ? std::optional(std::uint64_t{6} * static_cast<unsigned>(pieces)) : std::nullopt);
    engine.submit(std::move(fed.request), mailbox, false);
    for (int brought = 0;;) {
        for (const Event &event : wait(*mailbox))
            if (!std::holds_alternative<std::monostate>(event.outcome)) return body_of(event);
        if (!fed.pipe->asked()) continue;
        if (brought++ < pieces) {
            auto piece = std::make_shared<const std::string>("piece" + std::to_string(brought));
            fed.pipe->give(*piece, piece);
        } else {
            fed.pipe->finish();
        }
        engine.nudge();
    }
}

}  // namespace

TEST_CASE("a body is fed piece by piece, by many threads at once") {
    HttpServer server;
    Client client{{}};
    Engine &engine = client.pool().engine();
    std::vector<std::thread> feeders;
    std::vector<std::string> answers(8);
    for (std::size_t i = 0; i < answers.size(); ++i)
        feeders.emplace_back([&, i] {
            for (int round = 0; round < 20; ++round) answers[i] = feed(engine, server.url("/x"), 3);
        });
    for (std::thread &feeder : feeders) feeder.join();
    for (const std::string &answer : answers) CHECK(answer == "POST /x piece1piece2piece3");
    CHECK(feed(engine, server.url("/x"), 1, false) == "POST /x 6\r\npiece1\r\n0\r\n\r\n");
}

TEST_CASE("a feeder that leaves costs its own request only") {
    HttpServer server;
    Client client{{}};
    Engine &engine = client.pool().engine();
    auto mailbox = std::make_shared<Mailbox>();
    Fed fed(server.url("/x"), std::nullopt);
    const auto tag = engine.submit(std::move(fed.request), mailbox, false);
    wait(*mailbox);
    engine.cancel(*tag);
    CHECK(feed(engine, server.url("/x"), 1) == "POST /x piece1");
}

TEST_CASE("an answer counts as a connection until it is read") {
    HttpServer server;
    Client client(at_most(1));
    Engine &engine = client.pool().engine();
    auto mailbox = std::make_shared<Mailbox>();
    auto run = [&](bool pieces) {
        Request request = get(server.url("/y"));
        request.timeouts.pool = pieces ? kNever : 50 * kMillisecond;
        engine.submit(std::move(request), mailbox, pieces);
        std::vector<Event> events = wait(*mailbox);
        REQUIRE(events.size() == 1);
        return std::move(events.front());
    };
    Event unread = run(true);
    const Event refused = run(false);
    REQUIRE(std::holds_alternative<Error>(refused.outcome));
    CHECK(std::get<Error>(refused.outcome).kind == ErrorKind::pool_timeout);
    CHECK(std::holds_alternative<Body>(unread.feed->take().what));
    CHECK(body_of(run(false)) == "GET /y ");
    CHECK(server.connections() == 1);
}

TEST_CASE("an abandoned mailbox counts no longer, whatever lies in it") {
    HttpServer server;
    Client client(at_most(1));
    Engine &engine = client.pool().engine();
    auto left = std::make_shared<Mailbox>(), mailbox = std::make_shared<Mailbox>();
    engine.submit(get(server.url("/y")), left, true);
    pollfd answered{left->descriptor(), POLLIN, 0};
    ::poll(&answered, 1, -1);
    engine.abandon(left);
    Request waits = get(server.url("/x"));
    waits.timeouts.pool = 10'000 * kMillisecond;
    engine.submit(std::move(waits), mailbox, false);
    std::vector<Event> events = wait(*mailbox);
    REQUIRE(events.size() == 1);
    CHECK(body_of(events.front()) == "GET /x ");
}

TEST_CASE("bytes that the engine held back for a while count until they are taken, not longer") {
    const std::string piece(256 * 1024, 'x');
    auto unread = std::make_shared<Unread>();
    Feed feed("GET /");
    Body body;
    REQUIRE(body.append(piece.data(), piece.size()));
    feed.add(std::move(body));
    CHECK(feed.full());
    feed.finish(std::nullopt);
    feed.hold(unread);
    CHECK(unread->count.load() == 1);
    CHECK(feed.take().refill);
    CHECK(unread->count.load() == 0);
    CHECK_FALSE(feed.close());
    CHECK(unread->count.load() == 0);
}
