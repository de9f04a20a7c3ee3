// One libcurl easy handle and the state of the request that runs on it.
//
// === No silent replay ===
//
// When a kept-alive connection dies before the first byte of the answer, libcurl sends the request again on a
// new connection, whatever its method: a POST may then run twice on the server.  CURLOPT_PREREQFUNCTION is
// called each time that a request is about to be sent, so counting those calls and refusing the second one is
// the whole remedy for methods that are not idempotent.  Idempotent ones get one repetition.
//
// Over HTTP/2 a server can say that it has not looked at a request (REFUSED_STREAM, or a GOAWAY that does not
// cover it), as any does that ends a connection in good order.  libcurl then repeats the request, and may,
// whatever the method (RFC 9113, section 8.7).  That this is why it repeats, it says in its log only, and
// 7.88 only if nothing else was sent on the connection: a request that is not idempotent then fails instead.
//
// === Time limits ===
//
// libcurl's own limits do not fit: a connect limit of 0 means 300 seconds, and there is no limit on
// inactivity while sending or receiving, which is what `read` and `write` mean.  So libcurl gets none, and
// the loop that drives the transfer asks deadline().  Callbacks note when something happened.
//
// A body in memory is given to libcurl as one block (POSTFIELDS): it then goes out in the same system call as
// the head.  No callback tells of its progress, so deadline() asks libcurl for the count of bytes sent.

#include "net/transfer.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <new>
#include <utility>

#include "net/easy.h"

namespace offgil::net {

namespace {

// libcurl allocates this for each transfer.  16 to 128 KiB cost the same for bodies of 1 KiB and of 1 MiB;
// 256 KiB costs more, because malloc maps and unmaps it.
constexpr long kReceiveBuffer = 64 * 1024;

// Of an answer in pieces, what libcurl has received it decodes to the end and keeps while it is paused, up to
// 64 MiB: its buffer is small, so that deflate, which expands up to 1032 times, stays below that.
constexpr long kPiecesReceiveBuffer = 16 * 1024;

// curl/curl#11103: before 8.1, a handle's second answer whose header begins with a folded line writes to
// freed memory of the first one.  Any server can do that, so a handle serves only once there; a fresh one
// costs 2 us.
bool stale_header_pointer() {
    static const bool affected = curl_version_info(CURLVERSION_NOW)->version_num < 0x080101;
    return affected;
}

/// Every coding that libcurl can undo.
const std::string &codings() {
    static const std::string all = [] {
        const int features = curl_version_info(CURLVERSION_NOW)->features;
        std::string list = features & CURL_VERSION_LIBZ ? "deflate, gzip" : "identity";
        if (features & CURL_VERSION_BROTLI) list += ", br";
        if (features & CURL_VERSION_ZSTD) list += ", zstd";
        return list;
    }();
    return all;
}

}  // namespace

Transfer::Transfer(const Config &config, SocketSet &sockets) : config_(config), sockets_(sockets) {
    make_handle();
}

void Transfer::make_handle() {
    const Config &config = config_;
    SocketSet &sockets = sockets_;
    delivery_ = Delivery::whole;
    easy_.reset(curl_easy_init());
    CURL *easy = easy_.get();
    if (!easy) throw std::bad_alloc();
    set(easy, CURLOPT_NOSIGNAL, 1L);
    set(easy, CURLOPT_ERRORBUFFER, detail_);
    set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    set(easy, CURLOPT_PATH_AS_IS, 1L);
    set(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    set(easy, CURLOPT_BUFFERSIZE, kReceiveBuffer);
    if (config.decode) set(easy, CURLOPT_ACCEPT_ENCODING, codings().c_str());
    set(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    set(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(INT_MAX));
    set(easy, CURLOPT_HEADERFUNCTION, &Transfer::on_header);
    set(easy, CURLOPT_HEADERDATA, this);
    set(easy, CURLOPT_WRITEFUNCTION, &Transfer::on_body);
    set(easy, CURLOPT_WRITEDATA, this);
    set(easy, CURLOPT_READFUNCTION, &Transfer::on_read);
    set(easy, CURLOPT_READDATA, this);
    set(easy, CURLOPT_SEEKFUNCTION, &Transfer::on_seek);
    set(easy, CURLOPT_SEEKDATA, this);
    set(easy, CURLOPT_PREREQFUNCTION, &Transfer::on_request_ready);
    set(easy, CURLOPT_PREREQDATA, this);
    if (config.route.http_version != HttpVersion::http1) {
        set(easy, CURLOPT_DEBUGFUNCTION, &Transfer::on_log);
        set(easy, CURLOPT_DEBUGDATA, this);
    }
    if (!config.route.socket_options.empty()) {
        set(easy, CURLOPT_SOCKOPTFUNCTION, &Transfer::on_socket);
        set(easy, CURLOPT_SOCKOPTDATA, this);
    }
    sockets.watch(easy);
    set_tls(easy, config.tls);
    set_route(easy, config.route);
    proxy_ = nullptr;
    aimed_ = false;
}

void Transfer::renew_handle() {
    void *owner = nullptr;
    curl_easy_getinfo(easy(), CURLINFO_PRIVATE, &owner);
    make_handle();
    set(easy(), CURLOPT_PRIVATE, owner);
}

void Transfer::begin(const Request &request, Nanos now, Nanos until, Delivery delivery) {
    if (used_ && stale_header_pointer()) renew_handle();
    used_ = true;
    request_ = &request;
    if (delivery != delivery_) {
        set(easy(), CURLOPT_BUFFERSIZE, delivery == Delivery::whole ? kReceiveBuffer : kPiecesReceiveBuffer);
        delivery_ = delivery;
    }
    response_ = Response{};
    sink_.reset();
    if (request.save_to >= 0) sink_.emplace(request.save_to);
    phase_ = Phase::connecting;
    started_ = active_ = now;
    until_ = until;
    uploaded_ = 0;
    attempts_ = 0;
    flow_ = Flow::open;
    sent_ = body_started_ = head_taken_ = replay_refused_ = unclean_ = out_of_memory_ = false;
    refusal_ = Refusal::none;
    header_bytes_ = 0;
    heads_ = socket_error_ = 0;
    detail_[0] = '\0';
    not_looked_at_ = false;
    const long alone = config_.route.needs_fresh_connection(request.url) ? 1 : 0;
    set(easy(), CURLOPT_FRESH_CONNECT, alone);
    set(easy(), CURLOPT_FORBID_REUSE, alone);
    set(easy(), CURLOPT_URL, request.url.c_str());
    if (const Proxy *proxy = config_.route.proxy_for(request.url); proxy != proxy_) {
        set_proxy(easy(), proxy);
        proxy_ = proxy;
    }
    aim();
    set_method();
    set_headers();
}

bool Transfer::posts() const {
    // A body-less POST, PUT or PATCH still announces "Content-Length: 0" (RFC 9110, section 8.6).
    const std::string &method = request_->method;
    return request_->has_body || request_->upload || method == "POST" || method == "PUT" || method == "PATCH";
}

void Transfer::aim() {
    const bool elsewhere = !request_->target.empty() || !request_->connect_to.empty();
    if (!elsewhere && !aimed_) return;
    aimed_ = elsewhere;
    const std::string &target = request_->target;
    set(easy(), CURLOPT_REQUEST_TARGET, target.empty() ? nullptr : target.c_str());
    connect_to_.reset();
    if (!request_->connect_to.empty()) {
        connect_to_.reset(curl_slist_append(nullptr, request_->connect_to.c_str()));
        if (!connect_to_) throw std::bad_alloc();
    }
    set(easy(), CURLOPT_CONNECT_TO, connect_to_.get());
}

void Transfer::set_method() {
    CURL *easy = this->easy();
    const std::string &method = request_->method;
    const Upload *upload = request_->upload.get();
    const char *custom = nullptr;
    if (posts()) {
        set(easy, CURLOPT_NOBODY, 0L);
        set(easy, CURLOPT_POST, 1L);
        // Without a length libcurl sends chunks, or just an end where HTTP/2 has one.
        curl_off_t size = static_cast<curl_off_t>(request_->body.size());
        if (upload) size = upload->size ? static_cast<curl_off_t>(*upload->size) : -1;
        set(easy, CURLOPT_POSTFIELDSIZE_LARGE, size);
        // A null pointer makes libcurl call on_read() instead.
        const char *block = request_->body.empty() ? "" : request_->body.data();
        set(easy, CURLOPT_POSTFIELDS, upload ? nullptr : block);
        if (method != "POST") custom = method.c_str();
    } else if (method == "HEAD") {
        set(easy, CURLOPT_NOBODY, 1L);
    } else {
        set(easy, CURLOPT_HTTPGET, 1L);
        if (method != "GET") custom = method.c_str();
    }
    set(easy, CURLOPT_CUSTOMREQUEST, custom);
    if (config_.route.http_version != HttpVersion::http1)
        set(easy, CURLOPT_VERBOSE, idempotent(method) ? 0L : 1L);  // see on_log
}

void Transfer::set_headers() {
    const bool bare = request_->headers.empty() && !posts();
    if (bare && bare_headers_) {
        set(easy(), CURLOPT_HTTPHEADER, bare_headers_.get());
        return;
    }
    std::unique_ptr<curl_slist, SlistFree> list;
    auto append = [&](const std::string &line) {
        curl_slist *longer = curl_slist_append(list.get(), line.c_str());
        if (!longer) throw std::bad_alloc();
        static_cast<void>(list.release());
        list.reset(longer);
    };
    auto given = [&](std::string_view name) {
        auto named = [&](const Header &h) { return equal_ignoring_case(h.name, name); };
        return std::ranges::any_of(request_->headers, named);
    };
    auto append_header = [&](const Header &header) {
        // "Name;" is libcurl's way to send a header without a value; "Name:" removes one that it has itself.
        if (header.omitted)
            append(header.name + ":");
        else
            append(header.value.empty() ? header.name + ";" : header.name + ": " + header.value);
    };
    for (const Header &header : config_.default_headers)
        if (!given(header.name)) append_header(header);
    for (const Header &header : request_->headers) {
        // The length follows from the body; another one would only desynchronise the connection.  Nor can a
        // request do without a Host.
        if (equal_ignoring_case(header.name, "Content-Length")) continue;
        if (header.omitted && equal_ignoring_case(header.name, "Host")) continue;
        append_header(header);
    }
    auto absent = [&](std::string_view name) {
        auto named = [&](const Header &h) { return equal_ignoring_case(h.name, name); };
        return !given(name) && std::ranges::none_of(config_.default_headers, named);
    };
    // What libcurl would add to a body by itself: a round trip before large ones, and a form's content type.
    if (posts())
        for (const char *name : {"Expect", "Content-Type"})
            if (absent(name)) append(std::string(name) + ":");
    if (absent("Accept")) append("Accept:");  // which would ask for anything
    // libcurl would do this by itself, too, but formats it once more, byte by byte: 4,500 instructions.
    if (config_.decode && absent("Accept-Encoding")) append("Accept-Encoding: " + codings());

    set(easy(), CURLOPT_HTTPHEADER, list.get());
    if (bare)
        bare_headers_ = std::move(list);
    else
        headers_ = std::move(list);
}

std::size_t Transfer::on_header(char *data, std::size_t size, std::size_t count, void *self) {
    auto *transfer = static_cast<Transfer *>(self);
    // An answer may come while the request is still being sent, which goes on under its own limit.
    if (!transfer->sent_) transfer->note_sent(monotonic_now());
    if (transfer->sent_) transfer->phase_ = Phase::receiving;
    try {
        transfer->refusal_ = transfer->judge_header_line({data, size * count});
    } catch (const std::bad_alloc &) {
        transfer->out_of_memory_ = true;
        return 0;
    }
    return transfer->refusal_ == Refusal::none ? size * count : 0;
}

int Transfer::on_socket(void *self, curl_socket_t socket, curlsocktype) {
    auto *transfer = static_cast<Transfer *>(self);
    for (const SocketOption &option : transfer->config_.route.socket_options) {
        const auto size = static_cast<socklen_t>(option.value.size());
        if (::setsockopt(socket, option.level, option.name, option.value.data(), size) == 0) continue;
        transfer->socket_error_ = errno;
        return CURL_SOCKOPT_ERROR;
    }
    return CURL_SOCKOPT_OK;
}

int Transfer::on_request_ready(void *self, char *, char *, int, int local_port) {
    auto *transfer = static_cast<Transfer *>(self);
    curl_socket_t socket = CURL_SOCKET_BAD;
    if (!transfer->config_.route.unix_socket.empty()) {
        local_port = 0;
        // Before 8.0, libcurl does not say yet, but looks at the connection itself.
        curl_easy_getinfo(transfer->easy(), CURLINFO_ACTIVESOCKET, &socket);
    }
    if (transfer->sockets_.spoilt(local_port, socket)) {
        transfer->unclean_ = true;
        return CURL_PREREQFUNC_ABORT;
    }
    if (std::exchange(transfer->not_looked_at_, false)) --transfer->attempts_;
    const Request &request = *transfer->request_;
    const bool repeatable = idempotent(request.method) && (!request.upload || request.upload->replayable());
    int allowed = repeatable ? 2 : 1;
    if (++transfer->attempts_ > allowed) {
        transfer->replay_refused_ = true;
        return CURL_PREREQFUNC_ABORT;
    }
    transfer->sent_ = request.body.empty() && !request.upload;
    transfer->phase_ = transfer->sent_ ? Phase::receiving : Phase::sending;
    transfer->uploaded_ = 0;
    transfer->active_ = monotonic_now();
    return CURL_PREREQFUNC_OK;
}

int Transfer::on_log(CURL *, curl_infotype type, char *text, std::size_t size, void *self) {
    const std::string_view line(text, size);
    if (type == CURLINFO_TEXT &&
        (line.starts_with("REFUSED_STREAM") || line.find(" refused by server, try again") != line.npos))
        static_cast<Transfer *>(self)->not_looked_at_ = true;
    return 0;
}

bool Transfer::wants_restart(Nanos now) {
    if (!unclean_) return false;
    unclean_ = false;
    phase_ = Phase::connecting;
    active_ = now;
    return true;
}

Nanos Transfer::shortest_limit() const {
    const Timeouts &limits = request_->timeouts;
    return std::min({limits.connect, limits.read, limits.write});
}

Nanos Transfer::deadline(Nanos now) {
    if (!sent_) note_sent(now);
    if (starved()) return until_;  // the time until there are bytes is the caller's
    const Timeouts &limits = request_->timeouts;
    Nanos limit = limits.read;
    if (phase_ == Phase::connecting) limit = limits.connect;
    if (phase_ == Phase::sending) limit = limits.write;
    return std::min(until_, deadline_after(active_, limit));
}

Result Transfer::finish(CURLcode code, Nanos now) {
    if (code != CURLE_OK && !(code == CURLE_SEND_ERROR && answered())) return classify(code);
    remember_connection();
    // libcurl is content with a head that just stops.
    if (!head_taken_ && !response_.headers.complete())
        return error(ErrorKind::remote_protocol, "the server closed the connection within the header");
    describe_response(now);
    if (sink_ && successful(response_.status) && !sink_->finish()) return file_error();
    return std::move(response_);
}

void Transfer::remember_connection() {
    long opened = 0, version = 0;
    curl_easy_getinfo(easy(), CURLINFO_NUM_CONNECTS, &opened);
    curl_easy_getinfo(easy(), CURLINFO_HTTP_VERSION, &version);
    // HTTP/2 frames may come at any time, and name their request.
    if (opened == 0 || version >= CURL_HTTP_VERSION_2_0) return;
    long port = 0;
    curl_socket_t socket = CURL_SOCKET_BAD;
    if (config_.route.unix_socket.empty()) curl_easy_getinfo(easy(), CURLINFO_LOCAL_PORT, &port);
    // Bad if it was not kept.  To find it, libcurl walks through all connections of the multi handle.
    curl_easy_getinfo(easy(), CURLINFO_ACTIVESOCKET, &socket);
    sockets_.keep(static_cast<int>(port), socket);
}

Traffic Transfer::traffic() const {
    long connects = 0;
    curl_off_t uploaded = 0, downloaded = 0;
    curl_easy_getinfo(easy(), CURLINFO_NUM_CONNECTS, &connects);
    curl_easy_getinfo(easy(), CURLINFO_SIZE_UPLOAD_T, &uploaded);
    curl_easy_getinfo(easy(), CURLINFO_SIZE_DOWNLOAD_T, &downloaded);
    return {static_cast<std::uint64_t>(uploaded), static_cast<std::uint64_t>(downloaded),
            static_cast<std::uint64_t>(connects), connects == 0 && attempts_ > 0};
}

}  // namespace offgil::net
