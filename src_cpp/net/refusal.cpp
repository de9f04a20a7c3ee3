// Which answers a Transfer refuses although libcurl is content with them, or would be for ever.
//
// libcurl forgives much that RFC 9112 calls an error, and takes as much header and body as is sent.  Its
// callbacks see every header line and every decoded byte, so they are where an answer is refused and memory
// bounded.
//
// Time: a header that drips line by line is no activity.  From its status line on, a head must be complete
// within the read limit, and kMaxHeads bounds how often that limit starts anew before the final head.

#include <string>

#include "net/transfer.h"

namespace offgil::net {

namespace {

// Over all heads of an answer and its trailers; libcurl's own bound, in newer versions, is 300 KiB.  It also
// bounds the number of fields, which take four bytes at least.
constexpr std::size_t kMaxHeaderBytes = 256 * 1024;

// The final head, and as many 1xx ones before it as an honest server may need to say that it is still at
// work.
constexpr int kMaxHeads = 100;

}  // namespace

Transfer::Refusal Transfer::judge_header_line(std::string_view line) {
    header_bytes_ += line.size();
    if (header_bytes_ > kMaxHeaderBytes) return Refusal::long_header;
    if (body_started_) return Refusal::none;  // a trailer
    switch (response_.headers.add_line(line)) {
        case HeaderBlock::Line::status:
            active_ = monotonic_now();
            return ++heads_ > kMaxHeads ? Refusal::many_heads : Refusal::none;
        case HeaderBlock::Line::end:
            active_ = monotonic_now();
            return judge_head();
        case HeaderBlock::Line::malformed:
            return Refusal::malformed_header;
        case HeaderBlock::Line::field:
        case HeaderBlock::Line::trailer:
            break;
    }
    return Refusal::none;
}

Transfer::Refusal Transfer::judge_head() {
    const HeaderBlock &headers = response_.headers;
    long status = 0;
    curl_easy_getinfo(easy(), CURLINFO_RESPONSE_CODE, &status);
    if (status == 101) return Refusal::upgrade;
    if (!headers.lengths_agree()) return Refusal::lengths;
    // Here and no later: at the end of a transfer libcurl does not say any more.
    if (delivery_ == Delivery::pieces &&
        equal_ignoring_case(std::string_view(request_->url).substr(0, 6), "https:"))
        response_.connection.tls = describe_tls(easy());
    // Transfer-Encoding wins, but somebody on the way may have seen another end of the body.
    if (!headers.find("Transfer-Encoding").empty() && !headers.find("Content-Length").empty())
        curl_easy_setopt(easy(), CURLOPT_FORBID_REUSE, 1L);
    return Refusal::none;
}

Error Transfer::refusal_error(Refusal refusal) const {
    switch (refusal) {
        case Refusal::long_header:
            return error(ErrorKind::response_too_large, "the answer's header and trailers exceed " +
                                                            std::to_string(kMaxHeaderBytes) + " bytes");
        case Refusal::long_line:
            return error(ErrorKind::response_too_large,
                         "the answer's header has a line above 100 KiB, or too many fields");
        case Refusal::long_body:
            return error(ErrorKind::response_too_large, "the decoded body exceeds max_response_bytes, " +
                                                            std::to_string(config_.max_response_bytes) +
                                                            "; raise it if the server is trusted");
        case Refusal::many_heads:
            return error(ErrorKind::remote_protocol,
                         "more than " + std::to_string(kMaxHeads - 1) + " interim (1xx) answers");
        case Refusal::upgrade:
            return error(ErrorKind::remote_protocol,
                         "the server switched protocols (101), which is not supported");
        case Refusal::lengths:
            return error(ErrorKind::remote_protocol,
                         "the answer's Content-Length is no number, or there are several that differ");
        case Refusal::malformed_header:
        case Refusal::none:
            break;
    }
    return error(ErrorKind::remote_protocol,
                 "the answer's header has a line that is not \"name: value\", or with a CR or NUL in it");
}

}  // namespace offgil::net
