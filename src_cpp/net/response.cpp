#include "net/response.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "net/request.h"

namespace offgil::net {

Body::~Body() {
    std::free(data_);
}

bool Body::reserve(std::size_t size) {
    if (size <= capacity_) return true;
    void *block = std::realloc(data_, size);
    if (!block) return false;
    data_ = static_cast<char *>(block);
    capacity_ = size;
    return true;
}

bool Body::append(const char *data, std::size_t size) {
    if (size == 0) return true;
    if (size > capacity_ - size_) {
        std::size_t wanted = std::max(size_ + size, capacity_ + capacity_ / 2);
        if (!reserve(wanted)) return false;
    }
    std::memcpy(data_ + size_, data, size);
    size_ += size;
    return true;
}

namespace {

std::string_view trim(std::string_view text) {
    static constexpr std::string_view blank = " \t\r\n";
    std::size_t first = text.find_first_not_of(blank);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

}  // namespace

void HeaderBlock::clear() {
    bytes_.clear();
    fields_.clear();
    reason_at_ = reason_size_ = 0;
    complete_ = false;
}

void HeaderBlock::add_line(std::string_view line) {
    auto offset = [&](std::string_view part) {
        return static_cast<std::uint32_t>(bytes_.size() +
                                          static_cast<std::size_t>(part.data() - line.data()));
    };
    auto size = [](std::string_view part) { return static_cast<std::uint32_t>(part.size()); };

    if (line.starts_with("HTTP/")) {
        clear();
        // "HTTP/1.1 404 Not Found": the reason is what follows the second space, and may be missing.
        std::size_t space = line.find(' ');
        space = space == std::string_view::npos ? space : line.find(' ', space + 1);
        if (space != std::string_view::npos) {
            std::string_view reason = trim(line.substr(space));
            if (!reason.empty()) {
                reason_at_ = offset(reason);
                reason_size_ = size(reason);
            }
        }
        bytes_.append(line);
        return;
    }
    std::size_t colon = line.find(':');
    if (colon == std::string_view::npos) {
        complete_ = trim(line).empty();
        return;
    }
    std::string_view name = line.substr(0, colon), value = trim(line.substr(colon + 1));
    fields_.push_back({offset(name), size(name), value.empty() ? 0 : offset(value), size(value)});
    bytes_.append(line);
}

std::string_view HeaderBlock::name(std::size_t i) const {
    return std::string_view(bytes_).substr(fields_[i].name_at, fields_[i].name_size);
}

std::string_view HeaderBlock::value(std::size_t i) const {
    return std::string_view(bytes_).substr(fields_[i].value_at, fields_[i].value_size);
}

std::string_view HeaderBlock::reason() const {
    return std::string_view(bytes_).substr(reason_at_, reason_size_);
}

std::string_view HeaderBlock::find(std::string_view wanted) const {
    for (std::size_t i = 0; i < fields_.size(); ++i)
        if (equal_ignoring_case(name(i), wanted)) return value(i);
    return {};
}

}  // namespace offgil::net
