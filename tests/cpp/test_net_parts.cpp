// The parts of net that need no server.
#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <string_view>

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
    CHECK(is_token("PROPFIND"));
    CHECK_FALSE(is_token("GET /"));
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

namespace {

using Line = HeaderBlock::Line;

/// Adds well-formed lines.
void add(HeaderBlock &block, std::initializer_list<std::string_view> lines) {
    for (std::string_view line : lines) {
        CAPTURE(line);
        CHECK(block.add_line(line) != Line::malformed);
    }
}

}  // namespace

TEST_CASE("a status line starts the header block anew") {
    HeaderBlock block;
    add(block, {"HTTP/1.1 100 Continue\r\n", "X-Early: 1\r\n", "\r\n"});
    CHECK(block.complete());
    add(block, {"HTTP/1.1 404 Not  Here\r\n", "A:1\r\n", "b: 2\r\n"});
    CHECK_FALSE(block.complete());
    CHECK(block.add_line("\r\n") == Line::end);
    CHECK(block.complete());
    CHECK(block.reason() == "Not  Here");
    CHECK(block.count() == 2);
    CHECK(block.add_line("HTTP/2 200 \r\n") == Line::status);
    CHECK(block.reason() == "");
    CHECK(block.count() == 0);
}

TEST_CASE("header fields") {
    HeaderBlock block;
    add(block, {"HTTP/1.1 200\r\n", "A:1\r\n", "b:  two \t\r\n", "Empty:\r\n", "a: 3\n", "\n"});
    CHECK(block.reason() == "");
    REQUIRE(block.count() == 4);
    CHECK(block.name(0) == "A");
    CHECK(block.value(0) == "1");
    CHECK(block.value(1) == "two");
    CHECK(block.value(2) == "");
    CHECK(block.find("A") == "1");
    CHECK(block.find("nothing") == "");
}

TEST_CASE("a folded line is part of the value above it") {
    HeaderBlock block;
    add(block, {"HTTP/1.1 200 OK\r\n", "A: 1\r\n", " \t two:\r\n", "\tthree \r\n", "  \r\n"});
    CHECK_FALSE(block.complete());
    add(block, {"Empty:\r\n", " late\r\n", "B: x\r\n", "\r\n"});
    REQUIRE(block.count() == 3);
    CHECK(block.value(0) == "1 two: three");
    CHECK(block.value(1) == "late");
    CHECK(block.name(2) == "B");
    CHECK(block.value(2) == "x");
}

TEST_CASE("lines that are not HTTP") {
    HeaderBlock block;
    CHECK(block.add_line("A: 1\r\n") == Line::malformed);
    CHECK(block.add_line("http/1.1 200 OK\r\n") == Line::malformed);
    CHECK(block.add_line("HTTP/1.1 200 a\rb\r\n") == Line::malformed);
    for (std::string_view line :
         {"HTTP/1.1\r\n", "HTTP/1.1 \r\n", "HTTP/1.1 20\r\n", "HTTP/1.1 2000 OK\r\n",
          "HTTP/1.1 4294967496 OK\r\n", "HTTP/1.1 2x0 OK\r\n", "HTTP/1.1 200OK\r\n"}) {
        CAPTURE(line);
        CHECK(block.add_line(line) == Line::malformed);
    }
    REQUIRE(block.add_line("HTTP/1.1 200 OK\r\n") == Line::status);
    CHECK(block.add_line(" folded\r\n") == Line::malformed);
    for (std::string_view line :
         {std::string_view("no colon\r\n"), std::string_view(": no name\r\n"),
          std::string_view("space : x\r\n"), std::string_view("\xff: x\r\n"),
          std::string_view("A: x\ry: z\r\n"), std::string_view("A: x\r\r\n"), std::string_view("\rA: x\r\n"),
          std::string_view("A: x\0y\r\n", 8), std::string_view("HTTP/1.1 500 Again\r\n"),
          std::string_view("HTTP/A: x\r\n")}) {
        CAPTURE(line);
        CHECK(block.add_line(line) == Line::malformed);
    }
    CHECK(block.count() == 0);
    CHECK(block.reason() == "OK");
}

TEST_CASE("trailers are not kept") {
    HeaderBlock block;
    add(block, {"HTTP/1.1 200 OK\r\n", "A: 1\r\n", "\r\n"});
    CHECK(block.add_line("A: 2\r\n") == Line::trailer);
    CHECK(block.add_line("\r\n") == Line::trailer);
    CHECK(block.complete());
    CHECK(block.count() == 1);
}

TEST_CASE("all lengths are one number") {
    auto agree = [](std::initializer_list<std::string_view> values) {
        HeaderBlock block;
        add(block, {"HTTP/1.1 200 OK\r\n"});
        for (std::string_view value : values) add(block, {"content-length: " + std::string(value) + "\r\n"});
        return block.lengths_agree();
    };
    CHECK(agree({}));
    CHECK(agree({"0"}));
    CHECK(agree({"9223372036854775807"}));
    CHECK(agree({"7", "7 , 7", "007"}));
    CHECK_FALSE(agree({"7", "8"}));
    CHECK_FALSE(agree({"7, 8"}));
    for (std::string_view value :
         {"", ",", "7,", "-7", "-0", "+7", "7x", "7 7", "0x7", "7.0", "9223372036854775808"}) {
        CAPTURE(value);
        CHECK_FALSE(agree({value}));
    }
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
