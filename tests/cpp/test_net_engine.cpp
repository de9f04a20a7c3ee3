// Engine, Feed and Mailbox against a real server; the stress at the end is what the thread sanitizer is for.
#include <doctest/doctest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <latch>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "http_server.h"
#include "net/client.h"
#include "net/engine.h"
#include "net_requests.h"

using namespace offgil::net;

namespace {

/// An event loop: a thread's mailbox, and what came for whom.
class Loop {
  public:
    explicit Loop(Client &client) : engine_(client.pool().engine()) {}
    ~Loop() { engine_.abandon(mailbox_); }

    std::optional<std::uint64_t> submit(Request made, bool pieces = false) {
        return engine_.submit(std::move(made), mailbox_, pieces);
    }

    /// Sleeps until there are events.
    std::vector<Event> wait() {
        pollfd ready{mailbox_->descriptor(), POLLIN, 0};
        ::poll(&ready, 1, -1);
        return mailbox_->take();
    }

    /// The next event of that tag.
    Event next(std::uint64_t tag) {
        for (;;) {
            auto found = early_.find(tag);
            if (found != early_.end()) return std::move(early_.extract(found).mapped());
            for (Event &event : wait()) early_.emplace(event.tag, std::move(event));
        }
    }

    Event run(Request made) { return next(*submit(std::move(made))); }

    struct Read {
        std::string bytes;
        std::optional<ErrorKind> error;
    };

    /// Reads a body to its end, or until `most` bytes are there.
    Read read(const Event &head, std::size_t most = std::string::npos) {
        Read result;
        while (result.bytes.size() < most) {
            Feed::Taken taken = head.feed->take();
            if (taken.refill) engine_.nudge();
            if (auto *body = std::get_if<Body>(&taken.what))
                result.bytes.append(body->data(), body->size());
            else if (std::holds_alternative<Feed::Nothing>(taken.what))
                next(head.tag);
            else if (auto *error = std::get_if<Error>(&taken.what))
                return result.error = error->kind, result;
            else
                break;
        }
        return result;
    }

    Engine &engine() { return engine_; }
    const std::shared_ptr<Mailbox> &mailbox() { return mailbox_; }

  private:
    Engine &engine_;
    const std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
    std::multimap<std::uint64_t, Event> early_;
};

std::uint64_t in_flight(Client &client) {
    return client.pool().counters().read().in_flight;
}

}  // namespace

TEST_CASE("many requests over a few connections, each with its own answer") {
    HttpServer server;
    Client client(at_most(5));
    Loop loop(client);
    std::map<std::uint64_t, std::string> wanted;
    std::vector<std::string> bodies;
    for (int i = 0; i < 100; ++i) bodies.push_back(std::to_string(i));
    for (const std::string &body : bodies)
        wanted.emplace(*loop.submit(request("POST", server.url("/x"), body)), "POST /x " + body);
    for (auto &[tag, text] : wanted) CHECK(body_of(loop.next(tag)) == text);
    CHECK(server.connections() <= 5);
    CHECK(in_flight(client) == 0);
}

TEST_CASE("connections are kept as far as max_keepalive says") {
    HttpServer server;
    Config none;
    none.max_keepalive = 0;
    Client client(none), keeping({});
    Loop loop(client), keeping_loop(keeping);
    for (int i = 0; i < 3; ++i) loop.run(get(server.url("/x")));
    CHECK(server.connections() == 3);
    for (int i = 0; i < 3; ++i) keeping_loop.run(get(server.url("/x")));
    CHECK(server.connections() == 4);
}

TEST_CASE("limits hold while a request waits and while it runs") {
    HttpServer server;
    Client client(at_most(1));
    Loop loop(client);
    Request slow = get(server.url("/stall"));
    slow.timeouts.read = 30 * kMillisecond;
    CHECK(failed_as(loop.run(slow), ErrorKind::read_timeout));
    const std::uint64_t holder = *loop.submit(get(server.url("/stall")));
    Request waits = get(server.url("/x"));
    waits.timeouts.pool = 5 * kMillisecond;
    CHECK(failed_as(loop.run(waits), ErrorKind::pool_timeout));
    waits.timeouts = {};
    waits.timeouts.total = 5 * kMillisecond;
    CHECK(failed_as(loop.run(waits), ErrorKind::deadline));
    waits.timeouts = {};
    const std::uint64_t turn = *loop.submit(waits);
    loop.engine().cancel(holder);
    CHECK(body_of(loop.next(turn)) == "GET /x ");
    CHECK(in_flight(client) == 0);
}

TEST_CASE("a token ends what runs, what waits and a pause; a pause ends by itself") {
    HttpServer server;
    Client client(at_most(1));
    Loop loop(client);
    auto token = std::make_shared<CancelToken>();
    Request made = get(server.url("/stall"));
    made.cancel = token;
    const std::uint64_t runs = *loop.submit(made);
    const std::uint64_t waits = *loop.submit(made);
    const std::uint64_t pauses = *loop.engine().pause(kNever, token, loop.mailbox());
    while (server.requests() < 1) std::this_thread::yield();
    token->cancel();
    for (std::uint64_t tag : {runs, waits, pauses}) CHECK(failed_as(loop.next(tag), ErrorKind::cancelled));
    CHECK(failed_as(loop.run(made), ErrorKind::cancelled));
    CHECK(server.requests() == 1);
    const Nanos before = monotonic_now();
    Event over = loop.next(*loop.engine().pause(10 * kMillisecond, nullptr, loop.mailbox()));
    CHECK(std::holds_alternative<std::monostate>(over.outcome));
    CHECK(monotonic_now() - before >= 10 * kMillisecond);
    CHECK(client.pool().counters().read().requests == 3);
}

TEST_CASE("streams: pieces, ends, failures and leaving early") {
    HttpServer server;
    Client client({});
    Loop loop(client);
    auto open = [&](const std::string &path) { return loop.next(*loop.submit(get(server.url(path)), true)); };
    for (int i = 0; i < 3; ++i) {
        Event head = open("/pieces");
        CHECK(std::get<Response>(head.outcome).status == 200);
        CHECK(loop.read(head).bytes == "piecepiecepiecepiecepiece");
        CHECK(std::holds_alternative<Feed::End>(head.feed->take().what));
    }
    CHECK(server.connections() == 1);
    Event cut = open("/cut");
    Loop::Read got = loop.read(cut);
    CHECK(got.bytes == "short");
    CHECK(got.error == ErrorKind::remote_protocol);
    cut.feed->close();
    CHECK(loop.read(cut).error == ErrorKind::remote_protocol);
    CHECK(failed_as(open("/drop"), ErrorKind::remote_protocol));

    Event endless = open("/endless");
    CHECK(loop.read(endless, 5'000'000).bytes.size() >= 5'000'000);
    endless.feed->close();
    loop.engine().cancel(endless.tag);
    CHECK(loop.read(endless).error == ErrorKind::stream_closed);
    while (in_flight(client) != 0) std::this_thread::yield();
}

TEST_CASE("a feed that nobody reads fills up and stops there") {
    HttpServer server;
    Client client({});
    Loop loop(client);
    Event head = loop.next(*loop.submit(get(server.url("/endless")), true));
    while (!head.feed->full()) std::this_thread::yield();
    // Other requests go on meanwhile, and give the engine any number of turns to take too much.
    for (int i = 0; i < 50; ++i) CHECK(body_of(loop.run(get(server.url("/x")))) == "GET /x ");
    Feed::Taken taken = head.feed->take();
    CHECK(taken.refill);
    CHECK(std::get<Body>(taken.what).size() < 512 * 1024);
    loop.engine().nudge();
    CHECK(loop.read(head, 1'000'000).bytes.size() >= 1'000'000);
}

TEST_CASE("the read limit of a stream counts only while somebody waits") {
    HttpServer server;
    Client client({});
    Loop loop(client);
    Request made = get(server.url("/pause"));
    made.timeouts.read = 250 * kMillisecond;  // on a busy machine the head may take long
    Event head = loop.next(*loop.submit(made, true));
    REQUIRE(head.feed);
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    CHECK(loop.read(head, 5).bytes == "first");
    const Nanos before = monotonic_now();
    CHECK(loop.read(head).error == ErrorKind::read_timeout);
    CHECK(monotonic_now() - before >= 249 * kMillisecond);
}

TEST_CASE("a close ends everything, everywhere, and refuses what comes later") {
    HttpServer server;
    Client client(at_most(2));
    Loop loop(client), other(client);
    Event stream = loop.next(*loop.submit(get(server.url("/endless")), true));
    const std::uint64_t runs = *other.submit(get(server.url("/stall")));
    const std::uint64_t waits = *loop.submit(get(server.url("/stall")));
    const std::uint64_t pauses = *other.engine().pause(kNever, nullptr, other.mailbox());
    while (server.requests() < 2) std::this_thread::yield();
    client.close();
    CHECK(failed_as(other.next(runs), ErrorKind::closed));
    CHECK(failed_as(loop.next(waits), ErrorKind::closed));
    CHECK(failed_as(other.next(pauses), ErrorKind::closed));
    CHECK(loop.read(stream).error == ErrorKind::closed);
    CHECK(!loop.submit(get(server.url("/x"))));
    CHECK(in_flight(client) == 0);
    client.close();
}

TEST_CASE("what an abandoned mailbox waited for ends, and gives up its body") {
    HttpServer server;
    Client client(at_most(2));
    auto owner = std::make_shared<int>(0);
    {
        Loop loop(client);
        for (int i = 0; i < 4; ++i) {
            Request made = request("POST", server.url("/stall"), "body");
            made.body_owner = owner;
            loop.submit(made);
        }
        while (server.requests() < 2) std::this_thread::yield();
        CHECK(owner.use_count() > 1);
    }
    while (owner.use_count() > 1 || in_flight(client) > 0) std::this_thread::yield();
    Loop next(client);
    CHECK(body_of(next.run(get(server.url("/x")))) == "GET /x ");
}

TEST_CASE("the engine's thread takes no signals") {
    sigset_t usr1, before;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, &before);
    HttpServer server;  // its threads inherit the mask
    Client client({});
    Loop loop(client);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    loop.run(get(server.url("/x")));  // starts the engine's thread
    pthread_sigmask(SIG_BLOCK, &usr1, nullptr);
    // Blocked everywhere else, it would kill the program on the engine's thread.
    ::kill(::getpid(), SIGUSR1);
    for (int i = 0; i < 5; ++i) loop.run(get(server.url("/x")));
    int taken = 0;
    CHECK(sigwait(&usr1, &taken) == 0);
    CHECK(taken == SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
TEST_CASE("an engine across forks") {
    MESSAGE("not run: the sanitizers' own locks do not survive a fork of a program with threads");
}
#else
TEST_CASE("a forked child has an engine of its own, and the parent's goes on") {
    HttpServer server;
    Client client({});
    auto loop = std::make_unique<Loop>(client);
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0};
    Event stream = loop->next(*loop->submit(get(server.url("/endless")), true));
    std::thread busy([&] {
        Loop own(client);
        while (!done) wrong += body_of(own.run(get(server.url("/busy")))) != "GET /busy ";
    });
    for (int i = 0; i < 20; ++i) {
        pid_t pid = ::fork();
        if (pid == 0) {
            Loop own(client);
            bool right = body_of(own.run(get(server.url("/child")))) == "GET /child ";
            client.close();
            ::_exit(right ? 0 : 1);
        }
        int status = -1;
        ::waitpid(pid, &status, 0);
        CHECK(status == 0);
    }
    CHECK(loop->read(stream, 1'000'000).bytes.size() >= 1'000'000);
    done = true;
    busy.join();
    CHECK(wrong == 0);
}
#endif

TEST_CASE("stress: calls, streams, pauses, cancels, tokens, abandoned loops and a close, all at once") {
    HttpServer server;
    for (int round = 0; round < 3; ++round) {
        Client client(at_most(12));
        std::atomic<int> wrong{0}, answered{0};
        std::latch start(7);
        std::vector<std::thread> threads;
        for (unsigned t = 0; t < 6; ++t)
            threads.emplace_back([&, t] {
                static const std::vector<std::string> paths{"/x",   "/pieces", "/endless",
                                                            "/cut", "/stall",  "/drop"};
                start.arrive_and_wait();
                for (unsigned i = t; !client.closed(); ++i) {
                    Loop loop(client);  // a new one each time: the old one is abandoned with what it has
                    auto token = std::make_shared<CancelToken>();
                    std::vector<std::uint64_t> tags;
                    for (unsigned k = 0; k < 5; ++k) {
                        const std::string &path = paths[(i + k) % paths.size()];
                        Request made = get(server.url(path));
                        if (path == "/stall") made.timeouts.read = 5 * kMillisecond;
                        if (k == 2) made.cancel = token;
                        const bool pieces = path == "/endless" || (i / 2 + k) % 2;
                        if (auto tag = loop.submit(made, pieces)) tags.push_back(*tag);
                    }
                    if (auto tag = loop.engine().pause(kMillisecond, token, loop.mailbox()))
                        tags.push_back(*tag);
                    if (i % 3 == 0) token->cancel();
                    if (i % 4 == 0 && !tags.empty()) {
                        loop.engine().cancel(tags.back());
                        tags.pop_back();
                    }
                    if (i % 5 == 0) continue;
                    for (std::uint64_t tag : tags) {
                        Event event = loop.next(tag);
                        if (!event.feed) {
                            answered += std::holds_alternative<Response>(event.outcome);
                            continue;
                        }
                        Loop::Read got = loop.read(event, 100'000);
                        ++answered;
                        if (i % 2) event.feed->close();
                        wrong += got.error == ErrorKind::stream_closed;
                        loop.engine().cancel(tag);
                    }
                }
            });
        threads.emplace_back([&] {
            Loop waiting(client);
            auto tag = waiting.submit(get(server.url("/stall")));
            start.arrive_and_wait();
            wrong += tag && !failed_as(waiting.next(*tag), ErrorKind::closed);
        });
        while (answered < 300) std::this_thread::yield();
        client.close();
        for (std::thread &thread : threads) thread.join();
        CHECK(wrong == 0);
        CHECK(in_flight(client) == 0);
    }
}
