// Setting options of libcurl's easy handles.
#pragma once

#include <curl/curl.h>

#include <new>

namespace offgil::net {

template <typename Value>
void set(CURL *easy, CURLoption option, Value value) {
    // Every option used here exists in the oldest libcurl that CMake accepts; only copying a string can fail.
    if (curl_easy_setopt(easy, option, value) == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
}

}  // namespace offgil::net
