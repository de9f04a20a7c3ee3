// By what way requests go, and whom they trust.
#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "net/ca_store.h"
#include "net/no_proxy.h"
#include "net/route.h"

using namespace offgil::net;

namespace {

std::string new_file() {
    std::string path = "/tmp/offgil-test-XXXXXX";
    close(mkstemp(path.data()));
    return path;
}

}  // namespace

TEST_CASE("hosts without a proxy") {
    struct {
        const char *list, *url;
        bool covered;
    } const cases[] = {
        {"", "http://host", false},
        {"*", "http://host", true},
        {"host", "http://host", true},
        {"host", "http://HOST./x", true},
        {"Host.", "https://user@host:1", true},
        {"host", "http://sub.host", true},
        {".host", "http://host", true},
        {"*.host", "http://sub.host", true},
        {"host", "http://ghost", false},
        {"sub.host", "http://host", false},
        {"a, b\tc", "http://b", true},
        {"host:80", "http://host", true},
        {"host:80", "https://host", false},
        {"host:443", "https://host", true},
        {"host:8080", "http://host:8080/x", true},
        {"10.0.0.0/8", "http://10.1.2.3", true},
        {"10.0.0.0/8", "http://11.1.2.3", false},
        {"10.0.0.0/8:81", "http://10.1.2.3:81", true},
        {"10.0.0.0/x", "http://10.0.0.0", false},
        {"10.0.0.0/-1", "http://10.0.0.0", false},
        {"0.0.0.0/0", "http://10.0.0.0", true},
        {"0.0.0.0/0", "http://[::1]", false},
        {"10", "http://10.0.0.10", false},
        {"::1", "http://[::1]:8080", true},
        {"[::1]:80", "http://[::1]", true},
        {"[::1]:80", "http://[::1]:81", false},
        {"0:0:0:0:0:0:0:1", "http://[::1]", true},
        {"fd00::/8", "http://[fd12::1]", true},
        {"fd00::/129", "http://[fd00::]", false},
        {"[::1", "http://[::1]", false},
        {"host", "http://", false},
    };
    for (const auto &[list, url, covered] : cases) {
        CAPTURE(list);
        CAPTURE(url);
        CHECK(NoProxy(list).covers(url) == covered);
    }
}

TEST_CASE("the proxy is chosen by scheme, and none leads to a Unix socket") {
    Route route;
    CHECK(route.proxy_for("http://host") == nullptr);
    route.for_https = Proxy{"http://proxy:1", "", ""};
    CHECK(route.proxy_for("http://host") == nullptr);
    CHECK(route.proxy_for("HTTPS://host") == &*route.for_https);
    route.no_proxy = NoProxy("host");
    CHECK(route.proxy_for("https://host") == nullptr);
    CHECK(route.proxy_for("https://other") == &*route.for_https);
    route.unix_socket = "/socket";
    CHECK(route.proxy_for("https://other") == nullptr);
}

TEST_CASE("clients that trust the same file share what was parsed of it until it changes") {
    const std::string file = new_file();
    std::remove(file.c_str());
    CHECK(CaStore::shared(file) != CaStore::shared(file));  // not there
    std::ofstream(file) << "one";
    auto first = CaStore::shared(file);
    CHECK(CaStore::shared(file) == first);
    CHECK(first->get() == nullptr);  // no certificate
    std::ofstream(file) << "another";
    CHECK(CaStore::shared(file) != first);
    std::remove(file.c_str());
}

TEST_CASE("stores are asked for and pushed out by many threads") {
    std::vector<std::thread> threads;
    std::vector<std::string> files;
    for (int i = 0; i < 12; ++i) {
        files.push_back(new_file());
        std::ofstream(files.back()) << i;
    }
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] {
            for (int round = 0; round < 50; ++round)
                for (const std::string &file : files) CHECK(CaStore::shared(file)->get() == nullptr);
        });
    for (std::thread &thread : threads) thread.join();
    for (const std::string &file : files) std::remove(file.c_str());
}
