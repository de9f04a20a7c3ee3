// A small HTTP/1.1 server for the tests of net: real sockets, one thread a connection.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>

/// What a request's path asks for:
///   /stall   no answer until the client or the server ends the connection
///   /drop    the connection is closed instead of an answer
///   /once    like any other, but the connection is closed when the *next* request on it has been read
///   /endless 200 with a body that goes on until the client hangs up
///   /pieces  200 in chunks: five times "piece", then a trailer
///   /cut     200 that announces more than its five bytes, then the connection is closed
///   others   200 with "METHOD PATH BODY" as the body; a body in chunks is given back in chunks
///
/// Locking: `mutex_` guards `open_` and `stopping_`; the counters are atomic.
class HttpServer {
  public:
    HttpServer();
    ~HttpServer();

    std::string url(const std::string &path) const;
    int connections() const { return connections_; }
    int requests() const { return requests_; }

  private:
    void accept_loop();
    void serve(int socket);
    bool read_request(int socket, std::string &buffer, std::string &method, std::string &path,
                      std::string &body);

    int listener_ = -1;
    int port_ = 0;
    std::mutex mutex_;
    std::condition_variable closed_;  // a connection's thread, which nobody joins, is done
    bool stopping_ = false;
    std::unordered_set<int> open_;
    std::atomic<int> connections_{0}, requests_{0};
    std::thread acceptor_;
};
