// The parts of net that need no server.
#include <doctest/doctest.h>

#include "net/clock.h"
#include "net/request.h"
#include "net/response.h"

using namespace offgil::net;

TEST_CASE("origin is everything up to the path") {
    CHECK(origin_of("http://host:80/path?x") == "http://host:80");
    CHECK(origin_of("https://host") == "https://host");
    CHECK(origin_of("http://host?q=/") == "http://host");
    CHECK(origin_of("http://host#f") == "http://host");
    CHECK(origin_of("") == "");
}

TEST_CASE("headers and methods that would change the request are refused") {
    CHECK(valid_header("X-Name", "value with spaces\tand tab"));
    CHECK(valid_header("X-Name", ""));
    CHECK(valid_header("X-Name", "caf\xc3\xa9"));
    for (const char *name : {"", "a b", "a:b", "a\r", "\xc3\xa9"}) CHECK_FALSE(valid_header(name, "v"));
    for (std::string value :
         {std::string("a\r\nb"), std::string("a\nb"), std::string("a\0b", 3), std::string("\x7f")})
        CHECK_FALSE(valid_header("X", value));
    CHECK(valid_method("PROPFIND"));
    CHECK_FALSE(valid_method("GET /"));
    CHECK_FALSE(valid_url_bytes("http://h/\r\n"));
    CHECK_FALSE(valid_url_bytes("http://h/ "));
    CHECK(valid_url_bytes("http://h/%20?q=~"));
}

TEST_CASE("only methods that are idempotent by definition may be repeated") {
    for (const char *method : {"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"}) CHECK(idempotent(method));
    for (const char *method : {"POST", "PATCH", "get", "CONNECT", ""}) CHECK_FALSE(idempotent(method));
}

TEST_CASE("deadlines do not overflow") {
    CHECK(deadline_after(5, 7) == 12);
    CHECK(deadline_after(5, kNever) == kNever);
    CHECK(deadline_after(kNever - 1, 7) == kNever);
}

TEST_CASE("a status line starts the header block anew") {
    HeaderBlock block;
    for (const char *line : {"HTTP/1.1 100 Continue\r\n", "X-Early: 1\r\n", "\r\n"}) block.add_line(line);
    CHECK(block.complete());
    for (const char *line :
         {"HTTP/1.1 404 Not  Here\r\n", "A:1\r\n", "b :  two \r\n", "Empty:\r\n", "a: 3\r\n"})
        block.add_line(line);
    CHECK_FALSE(block.complete());
    block.add_line("\r\n");
    CHECK(block.complete());
    CHECK(block.reason() == "Not  Here");
    REQUIRE(block.count() == 4);
    CHECK(block.name(0) == "A");
    CHECK(block.value(0) == "1");
    CHECK(block.value(1) == "two");
    CHECK(block.value(2) == "");
    CHECK(block.find("A") == "1");
    CHECK(block.find("nothing") == "");
    block.add_line("HTTP/2 200 \r\n");
    CHECK(block.reason() == "");
    CHECK(block.count() == 0);
}

TEST_CASE("a body grows and moves") {
    Body body;
    CHECK(body.append("", 0));
    std::string wanted;
    for (int i = 0; i < 1000; ++i) {
        std::string piece(static_cast<std::size_t>(i % 37), static_cast<char>('a' + i % 26));
        REQUIRE(body.append(piece.data(), piece.size()));
        wanted += piece;
    }
    Body moved = std::move(body);
    CHECK(std::string_view(moved.data(), moved.size()) == wanted);
    CHECK(moved.reserve(10));
    CHECK(moved.size() == wanted.size());
}
