// Bodies from files and sources, and into files; the stress at the end is what the thread sanitizer is for.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "http_server.h"
#include "net/batch.h"
#include "net/client.h"
#include "net/stream.h"
#include "net_requests.h"

using namespace offgil::net;

namespace {

/// An unnamed file with this content.
class TemporaryFile {
  public:
    explicit TemporaryFile(const std::string &content = {}) {
        char name[] = "/tmp/offgil-test-XXXXXX";
        descriptor = ::mkstemp(name);
        ::unlink(name);
        REQUIRE(::pwrite(descriptor, content.data(), content.size(), 0) ==
                static_cast<ssize_t>(content.size()));
    }
    ~TemporaryFile() { ::close(descriptor); }
    TemporaryFile(const TemporaryFile &) = delete;

    std::string read() const {
        std::string content(static_cast<std::size_t>(::lseek(descriptor, 0, SEEK_END)), '\0');
        REQUIRE(::pread(descriptor, content.data(), content.size(), 0) ==
                static_cast<ssize_t>(content.size()));
        return content;
    }

    int descriptor;
};

std::shared_ptr<Upload> upload_of(const TemporaryFile &file, std::uint64_t offset, std::uint64_t size) {
    return std::make_shared<FileUpload>(::dup(file.descriptor), offset, size, "the file");
}

/// Gives its pieces one by one, then the end, or a failure.
struct Pieces {
    std::vector<std::string> pieces;
    bool fails = false;
    std::size_t next = 0;

    static bool more(void *context, FedUpload &upload) {
        auto *self = static_cast<Pieces *>(context);
        if (self->next < self->pieces.size()) {
            upload.give(self->pieces[self->next++]);
            return true;
        }
        upload.finish();
        return !self->fails;
    }

    std::shared_ptr<Upload> upload(std::optional<std::uint64_t> size = std::nullopt) {
        return std::make_shared<FedUpload>(size, FedUpload::Source{&Pieces::more, this});
    }
};

}  // namespace

TEST_CASE("a file's bytes from an offset, again and again") {
    HttpServer server;
    Client client({});
    TemporaryFile file("0123456789");
    for (auto [offset, size] : {std::pair{0, 10}, {3, 7}, {3, 2}, {10, 0}}) {
        Request post = request("POST", server.url("/"));
        post.upload = upload_of(file, static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(size));
        const std::string wanted =
            "POST / " + std::string("0123456789")
                            .substr(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
        CHECK(body_of(client.perform(post, {})) == wanted);
        CHECK(post.upload->rewind());
        CHECK(body_of(client.perform(post, {})) == wanted);
    }
}

TEST_CASE("a file that cannot be read, or that ends early") {
    HttpServer server;
    Client client({});
    TemporaryFile file("short");
    Request post = request("POST", server.url("/"));
    post.upload = upload_of(file, 0, 6);
    CHECK(failed_as(client.perform(post, {}), ErrorKind::local_protocol));
    post.upload = std::make_shared<FileUpload>(::open("/", O_RDONLY), 0, 6, "the folder");
    const Result result = client.perform(post, {});
    REQUIRE(failed_as(result, ErrorKind::file));
    CHECK(std::get<Error>(result).os_error == EISDIR);
    CHECK(std::get<Error>(result).path == "the folder");
    CHECK(body_of(client.perform(request("GET", server.url("/")), {})) == "GET / ");
}

TEST_CASE("an idempotent request is repeated with its file from the start") {
    HttpServer server;
    Client client({});
    TemporaryFile file("content");
    CHECK(body_of(client.perform(request("GET", server.url("/once")), {})) == "GET /once ");
    Request put = request("PUT", server.url("/"));
    put.upload = upload_of(file, 0, 7);
    CHECK(body_of(client.perform(put, {})) == "PUT / content");
    CHECK(server.requests() == 3);

    CHECK(body_of(client.perform(request("GET", server.url("/once")), {})) == "GET /once ");
    Pieces pieces{{"content"}};
    put.upload = pieces.upload();
    CHECK(failed_as(client.perform(put, {}), ErrorKind::remote_protocol));
    CHECK(server.requests() == 5);
}

TEST_CASE("a source is asked for pieces until its end") {
    HttpServer server;
    Client client({});
    Request post = request("POST", server.url("/"));
    Pieces chunked{{"one", "", "", "three"}};
    post.upload = chunked.upload();
    CHECK(body_of(client.perform(post, {})) == "POST / 3\r\none\r\n5\r\nthree\r\n0\r\n\r\n");
    Pieces sized{{"one", "three"}};
    post.upload = sized.upload(8);
    CHECK(body_of(client.perform(post, {})) == "POST / onethree");
    Pieces nothing;
    post.upload = nothing.upload();
    CHECK(body_of(client.perform(post, {})) == "POST / 0\r\n\r\n");
    Pieces few{{"one"}};
    post.upload = few.upload(8);
    CHECK(failed_as(client.perform(post, {}), ErrorKind::local_protocol));
    Pieces many{{"one", "three"}};
    post.upload = many.upload(7);
    CHECK(failed_as(client.perform(post, {}), ErrorKind::local_protocol));
    Pieces failing{{"one"}, true};
    post.upload = failing.upload();
    CHECK(failed_as(client.perform(post, {}), ErrorKind::source));
}

TEST_CASE("who drives a transfer without a source feeds it") {
    HttpServer server;
    Client client({});
    Slot slot(client.pool().config(), client.pool().sockets());
    Request post = request("POST", server.url("/"));
    auto upload = std::make_shared<FedUpload>(std::nullopt, FedUpload::Source{});
    post.upload = upload;
    slot.transfer.begin(post, monotonic_now(), kNever);
    Added added = add(slot.multi, slot.transfer.easy());
    int given = 0;
    for (int running = 1; running;) {
        curl_multi_perform(slot.multi.handle(), &running);
        if (!slot.transfer.starved()) {
            slot.multi.poll(0, kMillisecond);
            continue;
        }
        if (++given <= 3)
            upload->give("piece");
        else
            upload->finish();
        CHECK(slot.transfer.resume_sending(monotonic_now()) == CURLE_OK);
    }
    int left = 0;
    CURLMsg *message = curl_multi_info_read(slot.multi.handle(), &left);
    REQUIRE(message);
    const std::string chunk = "5\r\npiece\r\n";
    CHECK(body_of(slot.transfer.finish(message->data.result, monotonic_now())) ==
          "POST / " + chunk + chunk + chunk + "0\r\n\r\n");
}

TEST_CASE("a body goes to a file, whatever the file held") {
    HttpServer server;
    Client client({});
    TemporaryFile file(std::string(1000, 'x'));
    Request get = request("GET", server.url("/path"));
    get.save_to = file.descriptor;
    CHECK(body_of(client.perform(get, {})).empty());
    CHECK(file.read() == "GET /path ");
    get.url = server.url("/pieces");
    CHECK(body_of(client.perform(get, {})).empty());
    CHECK(file.read() == "piecepiecepiecepiecepiece");
    get.url = server.url("/cut");
    CHECK(failed_as(client.perform(get, {}), ErrorKind::remote_protocol));

    std::string large(3'000'000, 'y');
    get.method = "PUT";
    get.body = large;
    get.has_body = true;
    get.url = server.url("/large");
    CHECK(body_of(client.perform(get, {})).empty());
    CHECK(file.read() == "PUT /large " + large);
}

TEST_CASE("a file that cannot be written") {
    HttpServer server;
    Client client({});
    Request get = request("GET", server.url("/path"));
    get.save_to = ::open("/dev/null", O_RDONLY);
    const Result result = client.perform(get, {});
    REQUIRE(failed_as(result, ErrorKind::file));
    CHECK(std::get<Error>(result).os_error == EBADF);
    get.url = server.url("/endless");
    CHECK(failed_as(client.perform(get, {}), ErrorKind::file));
    ::close(get.save_to);
}

TEST_CASE("stress: uploads and downloads in threads and batches, some cancelled, until a close") {
    HttpServer server;
    const std::string content(300'000, 'z');
    TemporaryFile source(content);
    for (int round = 0; round < 2; ++round) {
        Client client({});
        std::atomic<int> wrong{0}, answered{0};
        std::latch start(6);
        std::vector<std::thread> threads;
        for (int t = 0; t < 5; ++t)
            threads.emplace_back([&, t] {
                TemporaryFile target;
                start.arrive_and_wait();
                for (int i = t; !client.closed(); ++i) {
                    Request post = request("POST", server.url(i % 5 == 4 ? "/stall" : "/"));
                    Pieces pieces{{content, "", content}};
                    if (i % 2)
                        post.upload = upload_of(source, 0, content.size());
                    else
                        post.upload = pieces.upload(2 * content.size());
                    if (i % 3 == 0) post.save_to = target.descriptor;
                    post.cancel = std::make_shared<CancelToken>();
                    std::thread canceller;
                    if (i % 5 == 4) canceller = std::thread([token = post.cancel] { token->cancel(); });
                    const Result result = client.perform(post, {});
                    if (canceller.joinable()) canceller.join();
                    const auto *response = std::get_if<Response>(&result);
                    if (!response) {
                        const ErrorKind kind = std::get<Error>(result).kind;
                        wrong += kind != ErrorKind::closed && kind != ErrorKind::cancelled;
                        continue;
                    }
                    const std::size_t size = 7 + (i % 2 ? 1 : 2) * content.size();
                    wrong += (i % 3 ? response->body.size() : target.read().size()) != size;
                    ++answered;
                }
            });
        threads.emplace_back([&] {
            Batch batch(client, 4);
            start.arrive_and_wait();
            for (std::uint64_t tag = 0; batch.usable();) {
                for (int i = 0; i < 4; ++i) {
                    Request put = request("PUT", server.url("/"));
                    put.upload = upload_of(source, 0, content.size());
                    batch.add(std::move(put), ++tag);
                }
                for (std::size_t left = 4; left && batch.usable();) {
                    bool interrupted = false;
                    for (auto &[_, result] : batch.wait(kNever, {}, interrupted)) {
                        wrong += body_of(result) != "PUT / " + content;
                        --left;
                    }
                }
            }
        });
        while (answered < 60) std::this_thread::yield();
        client.close();
        for (std::thread &thread : threads) thread.join();
        CHECK(wrong == 0);
    }
}
