#include "http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <string_view>

namespace {

bool send_all(int socket, std::string_view data) {
    while (!data.empty()) {
        ssize_t sent = ::send(socket, data.data(), data.size(), MSG_NOSIGNAL);
        if (sent < 0) return false;
        data.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

}  // namespace

HttpServer::HttpServer() {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto *generic = reinterpret_cast<sockaddr *>(&address);
    if (::bind(listener_, generic, size) != 0 || ::listen(listener_, 512) != 0 ||
        ::getsockname(listener_, generic, &size) != 0)
        throw std::runtime_error("cannot listen on loopback");
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_loop(); });
}

HttpServer::~HttpServer() {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    for (int socket : open_) ::shutdown(socket, SHUT_RDWR);
    closed_.wait(lock, [this] { return open_.empty(); });
    lock.unlock();
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
}

std::string HttpServer::url(const std::string &path) const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
}

void HttpServer::accept_loop() {
    for (;;) {
        int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (socket < 0) return;
        std::lock_guard lock(mutex_);
        if (stopping_) {
            ::close(socket);
            return;
        }
        ++connections_;
        open_.insert(socket);
        std::thread([this, socket] { serve(socket); }).detach();
    }
}

bool HttpServer::read_request(int socket, std::string &buffer, std::string &method, std::string &path,
                              std::string &body) {
    char piece[16384];
    std::size_t end = 0, length = 0;
    for (;;) {
        end = buffer.find("\r\n\r\n");
        if (end != std::string::npos) {
            std::size_t field = buffer.find("Content-Length: ");
            length = field < end ? std::strtoul(buffer.c_str() + field + 16, nullptr, 10) : 0;
            if (buffer.find("Transfer-Encoding: chunked") < end) {
                std::size_t last = buffer.find("\r\n0\r\n\r\n", end + 2);
                length = last == std::string::npos ? last : last + 7 - (end + 4);
            }
            if (length != std::string::npos && buffer.size() >= end + 4 + length) break;
        }
        ssize_t got = ::recv(socket, piece, sizeof piece, 0);
        if (got <= 0) return false;
        buffer.append(piece, static_cast<std::size_t>(got));
    }
    std::size_t space = buffer.find(' '), second = buffer.find(' ', space + 1);
    method = buffer.substr(0, space);
    path = buffer.substr(space + 1, second - space - 1);
    body = buffer.substr(end + 4, length);
    buffer.erase(0, end + 4 + length);
    return true;
}

void HttpServer::serve(int socket) {
    std::string buffer, method, path, body;
    bool drop_next = false;
    while (read_request(socket, buffer, method, path, body)) {
        ++requests_;
        if (drop_next || path == "/drop") break;
        drop_next = path == "/once";
        if (path == "/stall") {
            char ignored = 0;
            while (::recv(socket, &ignored, 1, 0) > 0) continue;
            break;
        }
        if (path == "/endless") {
            std::string piece(16384, 'x');
            std::string_view head = "HTTP/1.1 200 OK\r\n\r\n";
            for (std::string_view next = head; send_all(socket, next);) next = piece;
            break;
        }
        if (path == "/cut") {
            send_all(socket, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort");
            break;
        }
        if (path == "/pieces") {
            if (!send_all(socket, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")) break;
            for (int i = 0; i < 5; ++i) send_all(socket, "5\r\npiece\r\n");
            if (!send_all(socket, "0\r\nX-Late: 1\r\n\r\n")) break;
            continue;
        }
        std::string text = method + " " + path + " " + body;
        std::string answer =
            "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text;
        if (!send_all(socket, answer)) break;
    }
    std::lock_guard lock(mutex_);
    ::close(socket);
    open_.erase(socket);
    closed_.notify_all();  // under the lock: the server may be gone right after it
}
