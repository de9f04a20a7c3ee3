// What a failed transfer is reported as: libcurl's codes are coarser than the exception classes, and its
// texts do not name the request.
#include <string>
#include <system_error>

#include "net/transfer.h"

namespace offgil::net {

Error Transfer::error(ErrorKind kind, std::string_view what) const {
    std::string message;
    message.append(request_->method).append(" ").append(request_->url).append(": ").append(what);
    return {kind, std::move(message)};
}

Error Transfer::timeout_error(Nanos now) const {
    if (now >= until_) return error(ErrorKind::deadline, "no complete answer within the deadline");
    switch (phase_) {
        case Phase::connecting:
            return error(
                ErrorKind::connect_timeout,
                "no connection within the connect timeout; is the server up, or the timeout too short?");
        case Phase::sending:
            return error(ErrorKind::write_timeout, "the server accepted no data for the write timeout");
        case Phase::receiving:
            break;
    }
    return error(ErrorKind::read_timeout,
                 "the server sent no data for the read timeout; raise it for slow answers");
}

Error Transfer::file_error() const {
    Error failed = error(ErrorKind::file, "writing the answer's body to a file failed: " +
                                              std::generic_category().message(sink_->error()));
    failed.os_error = sink_->error();
    return failed;
}

Error Transfer::classify(CURLcode code) const {
    std::string_view what = detail_[0] ? detail_ : curl_easy_strerror(code);
    if (replay_refused_)
        return error(
            ErrorKind::remote_protocol,
            "the server closed the connection without an answer; the request was not sent again because it "
            "may have been carried out, or its body cannot be read again");
    if (request_->upload && request_->upload->failure()) {
        Error failed = *request_->upload->failure();
        failed.message = error(failed.kind, failed.message).message;
        return failed;
    }
    if (sink_ && sink_->error()) return file_error();
    if (socket_error_)
        return error(ErrorKind::connect,
                     "a socket option could not be set: " + std::generic_category().message(socket_error_));
    if (out_of_memory_) return error(ErrorKind::read, "not enough memory for the answer");
    if (refusal_ != Refusal::none) return refusal_error(refusal_);
    // How libcurl refuses a long line, in the header or (with another code) among the trailers, or 5000
    // fields.
    constexpr int too_large = 100;  // CURLE_TOO_LARGE, since 8.6
    if (static_cast<int>(code) == too_large ||
        (header_bytes_ > 0 && (code == CURLE_OUT_OF_MEMORY || what.starts_with("Out of memory"))))
        return refusal_error(Refusal::long_line);
    if (proxy_failed(code)) return proxy_error(what);
    switch (code) {
        case CURLE_URL_MALFORMAT:
        case CURLE_LOGIN_DENIED:
            return error(ErrorKind::invalid_url, what);
        case CURLE_UNSUPPORTED_PROTOCOL:
            // The same code means "an answer without a status line" (HTTP/0.9) once a connection stands.
            return error(
                phase_ == Phase::connecting ? ErrorKind::unsupported_protocol : ErrorKind::remote_protocol,
                what);
        case CURLE_SEND_ERROR:
            return error(ErrorKind::write, what);
        case CURLE_RECV_ERROR: {
            // The same code means bad chunks; only the text tells who failed: the socket, TLS or the server.
            bool of_connection = !detail_[0] || what.starts_with("Recv failure") ||
                                 what.find("SSL") != std::string_view::npos ||
                                 what.find("TLS") != std::string_view::npos;
            return error(of_connection ? ErrorKind::read : ErrorKind::remote_protocol, what);
        }
        case CURLE_WRITE_ERROR:
            // The callbacks' own refusals were dealt with, so it was the decoder.
            return error(ErrorKind::decoding, "the body goes on after the end of its compressed data");
        case CURLE_BAD_FUNCTION_ARGUMENT:
            // A folded line with nothing above it, or a trailer that is none.
            if (header_bytes_ == 0) break;
            return refusal_error(Refusal::malformed_header);
        case CURLE_GOT_NOTHING:
            return error(ErrorKind::remote_protocol, "the server closed the connection without an answer");
        case CURLE_PARTIAL_FILE:
        case CURLE_WEIRD_SERVER_REPLY:
        case CURLE_HTTP2:
        case CURLE_HTTP2_STREAM:
            return error(ErrorKind::remote_protocol, what);
        case CURLE_SSL_CACERT_BADFILE:
            return error(ErrorKind::connect,
                         config_.tls.ca_file.empty()
                             ? "the system's certificate authorities could not be read; name some by verify="
                             : "verify=" + config_.tls.ca_file + ": no certificate could be read");
        case CURLE_UPLOAD_FAILED:
            return error(ErrorKind::local_protocol,
                         "a body of unknown length cannot be sent over HTTP/1.0; give a Content-Length");
        case CURLE_BAD_CONTENT_ENCODING:
            return error(ErrorKind::decoding, what);
        default:
            break;
    }
    if (phase_ != Phase::connecting) return error(ErrorKind::read, what);
    const std::string &path = config_.route.unix_socket;
    return error(ErrorKind::connect,
                 path.empty() ? std::string(what) : "the Unix socket " + path + ": " + std::string(what));
}

bool Transfer::proxy_failed(CURLcode code) const {
    if (!proxy_ || phase_ != Phase::connecting) return false;
    long answer = 0;
    curl_easy_getinfo(easy(), CURLINFO_HTTP_CONNECTCODE, &answer);
    const bool tunnelled = answer / 100 == 2;
    switch (code) {
        case CURLE_PROXY:  // SOCKS
        case CURLE_COULDNT_RESOLVE_PROXY:
        case CURLE_COULDNT_CONNECT:
        case CURLE_RECV_ERROR:
        case CURLE_SEND_ERROR:
        case CURLE_GOT_NOTHING:
        case CURLE_WEIRD_SERVER_REPLY:
            return !tunnelled;
        case CURLE_SSL_CONNECT_ERROR:
        case CURLE_PEER_FAILED_VERIFICATION:
            return !tunnelled && proxy_->url.starts_with("https:");
        default:
            return false;
    }
}

Error Transfer::proxy_error(std::string_view what) const {
    long answer = 0;
    curl_easy_getinfo(easy(), CURLINFO_HTTP_CONNECTCODE, &answer);
    std::string text = "the proxy " + proxy_->url + ": " + std::string(what);
    if (answer == 407)
        text += proxy_->user.empty() ? "; it wants credentials: proxy=\"http://user:password@host:port\""
                                     : "; it does not accept the credentials that were given";
    return error(ErrorKind::proxy, text);
}

}  // namespace offgil::net
