// What a transfer tells of its answer, its body apart.
#include <utility>

#include "net/transfer.h"

namespace offgil::net {

bool Transfer::head_complete() const {
    if (head_taken_ || !response_.headers.complete()) return head_taken_;
    long status = 0;
    curl_easy_getinfo(easy(), CURLINFO_RESPONSE_CODE, &status);
    return status >= 200;  // more heads follow a 1xx
}

bool Transfer::yields() const {
    if (delivery_ == Delivery::whole) return false;
    return head_taken_ ? response_.body.size() > 0 : head_complete();
}

bool Transfer::answered() const {
    curl_off_t announced = -1, received = 0;
    curl_easy_getinfo(easy(), CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
    curl_easy_getinfo(easy(), CURLINFO_SIZE_DOWNLOAD_T, &received);
    return head_complete() && announced >= 0 && received >= announced;
}

Response Transfer::take_head(Nanos now) {
    describe_response(now);
    head_taken_ = true;
    body_started_ = true;  // what still comes as a header line is a trailer
    return std::exchange(response_, Response{});
}

void Transfer::describe_response(Nanos now) {
    response_.elapsed = now - started_;
    response_.url = request_->url;
    long status = 0, version = 0;
    curl_easy_getinfo(easy(), CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy(), CURLINFO_HTTP_VERSION, &version);
    response_.status = static_cast<int>(status);
    auto time = [this](CURLINFO which) {
        curl_off_t microseconds = 0;
        curl_easy_getinfo(easy(), which, &microseconds);
        return Nanos{microseconds} * 1000;
    };
    response_.timings = {time(CURLINFO_NAMELOOKUP_TIME_T), time(CURLINFO_CONNECT_TIME_T),
                         time(CURLINFO_APPCONNECT_TIME_T), time(CURLINFO_STARTTRANSFER_TIME_T)};
    if (delivery_ == Delivery::pieces) describe_connection();
    switch (version) {
        case CURL_HTTP_VERSION_1_0:
            response_.http_version = 10;
            break;
        case CURL_HTTP_VERSION_2_0:
            response_.http_version = 20;
            break;
        case CURL_HTTP_VERSION_3:
            response_.http_version = 30;
            break;
        default:
            response_.http_version = 11;
    }
}

void Transfer::describe_connection() {
    Connection &connection = response_.connection;
    auto address = [this](CURLINFO which_ip, CURLINFO which_port) {
        const char *ip = nullptr;
        long port = 0;
        curl_easy_getinfo(easy(), which_ip, &ip);
        curl_easy_getinfo(easy(), which_port, &port);
        return Address{ip ? ip : "", static_cast<int>(port)};
    };
    connection.here = address(CURLINFO_LOCAL_IP, CURLINFO_LOCAL_PORT);
    connection.there = address(CURLINFO_PRIMARY_IP, CURLINFO_PRIMARY_PORT);
    long connects = 0;
    curl_easy_getinfo(easy(), CURLINFO_NUM_CONNECTS, &connects);
    connection.opened = connects > 0;
}

}  // namespace offgil::net
