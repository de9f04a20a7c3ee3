// One libcurl easy handle and the state of the request that runs on it.
#pragma once

#include <curl/curl.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "net/clock.h"
#include "net/config.h"
#include "net/error.h"
#include "net/file_sink.h"
#include "net/request.h"
#include "net/response.h"
#include "net/sockets.h"

namespace offgil::net {

using Result = std::variant<Response, Error>;

/// What one transfer did on the wire.
struct Traffic {
    std::uint64_t sent = 0;      ///< bytes of the request's body
    std::uint64_t received = 0;  ///< bytes of the answer's body, before decoding
    std::uint64_t connections_opened = 0;
    bool reused = false;  ///< went over a kept connection
};

/// Runs one request after another on one easy handle.  Whoever drives the multi handle that it was added to
/// calls begin(), then deadline() once per turn, then finish().
///
/// Locking: none.  A transfer belongs to one thread at a time; its owner (slot or batch) sees to that.
class Transfer {
  public:
    Transfer(const Config &config, SocketSet &sockets);
    Transfer(const Transfer &) = delete;
    Transfer &operator=(const Transfer &) = delete;

    CURL *easy() const { return easy_.get(); }

    /// Whether the answer is wanted in one block, or in pieces as it comes.
    enum class Delivery { whole, pieces };

    /// Sets the handle up for `request`, which must stay alive until finish().
    /// `until` is when the call's total time is over.
    void begin(const Request &request, Nanos now, Nanos until, Delivery delivery = Delivery::whole);

    /// Whether the driving loop should hand something out: of an answer in pieces its head, then any bytes.
    bool yields() const;

    /// Of an answer in pieces: whether the head came, whatever became of the transfer since.
    bool head_complete() const;

    /// Whether all of an answer of known length came, as it may before all of the request was sent: a server
    /// that has seen enough answers, and hangs up.
    bool answered() const;

    /// The head of an answer in pieces, with the bytes of the body that came along.  Once, after
    /// head_complete().
    Response take_head(Nanos now);

    /// The bytes that came since they were last taken from here.
    Body &body() { return response_.body; }

    /// Of an answer in pieces: whether bytes were not taken yet, here or by libcurl.
    bool holds() const { return response_.body.size() > 0 || flow_ == Flow::paused; }

    /// Goes on after yields(): restarts the time limits, for the time since was the caller's, and lets
    /// libcurl deliver again.  Anything but CURLE_OK is for finish().
    CURLcode resume(Nanos now);

    /// Whether the request's body comes from an upload that waits for bytes.
    bool starved() const { return request_->upload && request_->upload->starved(); }

    /// Goes on after starved(), as resume() does after yields().
    CURLcode resume_sending(Nanos now);

    /// Lets no time limit but the total one begin before `start`.
    void count_from(Nanos start) { active_ = std::max(active_, start); }

    /// When this transfer is overdue unless something happens before; `now` is the time of this turn.
    Nanos deadline(Nanos now);

    /// What the last transfer did on the wire; valid from finish() to the next begin().
    Traffic traffic() const;

    /// No deadline() can be earlier than this long from now, whatever phase comes next.
    Nanos shortest_limit() const;

    /// After libcurl's verdict: whether nothing was sent because the connection was not clean.  Then the
    /// owner adds the handle to its multi handle once more instead of calling finish().
    bool wants_restart(Nanos now);

    /// Turns libcurl's verdict into a response or an error.  Allowed once after begin().
    Result finish(CURLcode code, Nanos now);

    /// What a transfer fails with whose owner gave it up at its deadline.
    Error timeout_error(Nanos now) const;
    Error error(ErrorKind kind, std::string_view what) const;

  private:
    /// Of bytes from libcurl: taken until there is enough for a piece, then left with libcurl, then all
    /// taken.
    enum class Flow { open, paused, draining };
    enum class Phase { connecting, sending, receiving };

    static std::size_t on_header(char *data, std::size_t size, std::size_t count, void *self);
    static int on_log(CURL *, curl_infotype type, char *text, std::size_t size, void *self);
    static int on_socket(void *self, curl_socket_t socket, curlsocktype purpose);
    static int on_request_ready(void *self, char *, char *, int, int);

    // transfer_bodies.cpp
    static std::size_t on_body(char *data, std::size_t size, std::size_t count, void *self);
    static std::size_t on_read(char *buffer, std::size_t size, std::size_t count, void *self);
    static int on_seek(void *self, curl_off_t offset, int origin);
    bool start_body();
    bool take(const char *data, std::size_t size);
    void note_sent(Nanos now);

    // refusal.cpp
    enum class Refusal {
        none,
        malformed_header,
        long_header,
        long_line,
        long_body,
        many_heads,
        upgrade,
        lengths
    };
    Refusal judge_header_line(std::string_view line);
    Refusal judge_head();
    Error refusal_error(Refusal refusal) const;

    void make_handle();
    void renew_handle();
    /// Sets where the request goes, if that is not where its URL says.
    void aim();
    void set_method();
    /// Whether libcurl is to send it as a POST, under whatever name.
    bool posts() const;
    void set_headers();
    /// For on_request_ready(): libcurl would take bytes that come unasked on a kept connection for the next
    /// request's answer.
    void remember_connection();
    void describe_response(Nanos now);
    void describe_connection();
    Error classify(CURLcode code) const;
    Error file_error() const;
    /// Whether it is not the server but the proxy that could not be reached, or that refused.
    bool proxy_failed(CURLcode code) const;
    Error proxy_error(std::string_view what) const;

    struct EasyCleanup {
        void operator()(CURL *easy) const { curl_easy_cleanup(easy); }
    };
    struct SlistFree {
        void operator()(curl_slist *list) const { curl_slist_free_all(list); }
    };

    const Config &config_;
    SocketSet &sockets_;
    std::unique_ptr<CURL, EasyCleanup> easy_;
    std::unique_ptr<curl_slist, SlistFree> headers_;
    std::unique_ptr<curl_slist, SlistFree>
        bare_headers_;  ///< of a request without own headers that is no POST; built once

    std::unique_ptr<curl_slist, SlistFree> connect_to_;
    bool aimed_ = false;  ///< the handle is set to another target or host than the URL's

    const Request *request_ = nullptr;
    Response response_;
    std::optional<FileSink> sink_;  ///< takes the body of a 2xx answer
    Delivery delivery_ = Delivery::whole;
    const Proxy *proxy_ = nullptr;  ///< what the handle is set to
    Flow flow_ = Flow::open;
    Phase phase_ = Phase::connecting;
    Nanos started_ = 0;
    Nanos until_ = kNever;
    Nanos active_ = 0;         ///< when something last happened in this phase
    curl_off_t uploaded_ = 0;  ///< as of the last deadline()
    bool sent_ = false;        ///< all of the request's body
    int attempts_ = 0;         ///< times that libcurl was about to send the request
    bool used_ = false;        ///< the handle ran a request
    bool body_started_ = false;
    bool head_taken_ = false;
    bool replay_refused_ = false;
    bool not_looked_at_ = false;  ///< the server said so, and libcurl is about to repeat the request
    bool unclean_ = false;        ///< the kept connection was spoilt
    bool out_of_memory_ = false;
    int socket_error_ = 0;             ///< errno of a socket option that could not be set
    Refusal refusal_ = Refusal::none;  ///< why a callback ended the transfer
    std::size_t header_bytes_ = 0;     ///< of all heads and the trailers
    int heads_ = 0;                    ///< status lines so far
    char detail_[CURL_ERROR_SIZE] = {};
};

}  // namespace offgil::net
