// What becomes of a request that libcurl has no memory for.
#include <curl/curl.h>
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <poll.h>

#include <atomic>
#include <memory>
#include <new>
#include <string>
#include <thread>

#include "http_server.h"
#include "net/batch.h"
#include "net/client.h"
#include "net/engine.h"
#include "net/stream.h"
#include "net_requests.h"

using namespace offgil::net;

namespace {

std::atomic<int> additions_left{-1};  ///< below 0: any number

struct NoMoreAdditions {
    explicit NoMoreAdditions(int left = 0) { additions_left = left; }
    ~NoMoreAdditions() { additions_left = -1; }
    NoMoreAdditions(const NoMoreAdditions &) = delete;
};

}  // namespace

/// In front of libcurl's own.
extern "C" CURLMcode curl_multi_add_handle(CURLM *multi, CURL *easy) {
    if (additions_left == 0) return CURLM_OUT_OF_MEMORY;
    if (additions_left > 0) --additions_left;
    static const auto real =
        reinterpret_cast<decltype(&curl_multi_add_handle)>(::dlsym(RTLD_NEXT, "curl_multi_add_handle"));
    return real(multi, easy);
}

TEST_CASE("a call and a stream say so") {
    HttpServer server;
    Client client({});
    {
        NoMoreAdditions none;
        CHECK(body_of(client.perform(get(server.url("/x")), {})).find("Out of memory") != std::string::npos);
        Stream stream(client, get(server.url("/x")));
        CHECK(stream.open({}).has_value());
    }
    CHECK(body_of(client.perform(get(server.url("/x")), {})) == "GET /x ");
    CHECK(client.pool().counters().read().in_flight == 0);
}

TEST_CASE("a batch refuses the request and goes on") {
    HttpServer server;
    Client client({});
    Batch batch(client, 1);
    {
        NoMoreAdditions none;
        CHECK_THROWS_AS(batch.add(get(server.url("/x")), 1), std::bad_alloc);
    }
    CHECK(client.pool().counters().read().in_flight == 0);
    batch.add(get(server.url("/x")), 2);
    bool interrupted = false;
    auto done = batch.wait(kNever, {}, interrupted);
    REQUIRE(done.size() == 1);
    CHECK(done[0].tag == 2);
    CHECK(body_of(done[0].result) == "GET /x ");
}

TEST_CASE("an engine ends, and with it all that waits") {
    HttpServer server;
    Client client({});
    Engine &engine = client.pool().engine();
    auto mailbox = std::make_shared<Mailbox>();
    NoMoreAdditions one(1);
    engine.submit(get(server.url("/stall")), mailbox, false);
    while (server.requests() < 1) std::this_thread::yield();
    engine.submit(get(server.url("/x")), mailbox, false);
    for (int ended = 0; ended < 2;) {
        pollfd ready{mailbox->descriptor(), POLLIN, 0};
        ::poll(&ready, 1, -1);
        for (const Event &event : mailbox->take()) {
            CHECK(failed_as(event, ErrorKind::closed));
            ++ended;
        }
    }
    CHECK_FALSE(engine.submit(get(server.url("/x")), mailbox, false));
    CHECK(client.pool().counters().read().in_flight == 0);
}
