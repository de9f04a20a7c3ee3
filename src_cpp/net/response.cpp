#include "net/response.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "net/request.h"

namespace offgil::net {

namespace {

std::string_view trim(std::string_view text) {
    static constexpr std::string_view blank = " \t";
    std::size_t first = text.find_first_not_of(blank);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(blank) - first + 1);
}

std::string_view without_line_end(std::string_view line) {
    if (line.ends_with('\n')) line.remove_suffix(1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    return line;
}

// Room for most headers without growing.
constexpr std::size_t kUsualHeaderBytes = 512;
constexpr std::size_t kUsualFields = 16;

std::uint32_t size32(std::string_view text) {
    return static_cast<std::uint32_t>(text.size());
}

}  // namespace

HeaderBlock::Line HeaderBlock::add_line(std::string_view line) {
    line = without_line_end(line);
    // Some programs further on take a bare CR for a line end, and a NUL for the end of the text.  (Each of
    // these is one vectorised memchr; find_first_of would look at every byte by itself.)
    for (char never : {'\r', '\n', '\0'})
        if (line.find(never) != std::string_view::npos) return Line::malformed;
    if (state_ != State::open) {
        if (line.starts_with("HTTP/")) return add_status(line);
        return complete() ? Line::trailer : Line::malformed;
    }
    if (line.empty()) {
        state_ = State::complete;
        return Line::end;
    }
    return line.front() == ' ' || line.front() == '\t' ? unfold(line) : add_field(line);
}

HeaderBlock::Line HeaderBlock::add_status(std::string_view line) {
    // "HTTP/1.1 404 Not Found": three digits, and a reason that may be missing.
    std::string_view rest = trim(line.substr(std::min(line.find(' '), line.size())));
    std::string_view status = rest.substr(0, rest.find(' '));
    auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (status.size() != 3 || !std::ranges::all_of(status, is_digit)) return Line::malformed;
    bytes_.reserve(kUsualHeaderBytes);
    fields_.reserve(kUsualFields);
    bytes_ = trim(rest.substr(3));
    reason_size_ = size32(bytes_);
    fields_.clear();
    state_ = State::open;
    return Line::status;
}

HeaderBlock::Line HeaderBlock::add_field(std::string_view line) {
    std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return Line::malformed;
    std::string_view name = line.substr(0, colon), value = trim(line.substr(colon + 1));
    std::uint32_t at = size32(bytes_);
    fields_.push_back({at, size32(name), at + size32(name), size32(value)});
    bytes_.append(name).append(value);
    return Line::field;
}

HeaderBlock::Line HeaderBlock::unfold(std::string_view line) {
    if (fields_.empty()) return Line::malformed;
    std::string_view more = trim(line);
    Field &last = fields_.back();
    if (last.value_size != 0 && !more.empty()) bytes_.push_back(' ');
    bytes_.append(more);
    last.value_size = size32(bytes_) - last.value_at;
    return Line::field;
}

std::string_view HeaderBlock::name(std::size_t i) const {
    return std::string_view(bytes_).substr(fields_[i].name_at, fields_[i].name_size);
}

std::string_view HeaderBlock::value(std::size_t i) const {
    return std::string_view(bytes_).substr(fields_[i].value_at, fields_[i].value_size);
}

std::string_view HeaderBlock::find(std::string_view wanted) const {
    for (std::size_t i = 0; i < fields_.size(); ++i)
        if (equal_ignoring_case(name(i), wanted)) return value(i);
    return {};
}

bool HeaderBlock::lengths_agree() const {
    std::optional<std::int64_t> agreed;
    for (std::size_t i = 0; i < fields_.size(); ++i) {
        if (!equal_ignoring_case(name(i), "Content-Length")) continue;
        std::string_view rest = value(i);
        // A proxy may have joined repeated fields to a list.
        for (std::size_t comma = 0; comma != std::string_view::npos;) {
            comma = rest.find(',');
            std::string_view item = trim(rest.substr(0, comma));
            std::int64_t number = 0;
            auto [end, problem] = std::from_chars(item.data(), item.data() + item.size(), number);
            if (problem != std::errc{} || end != item.data() + item.size() || item.front() == '-')
                return false;
            if (agreed.value_or(number) != number) return false;
            agreed = number;
            if (comma != std::string_view::npos) rest.remove_prefix(comma + 1);
        }
    }
    return true;
}

}  // namespace offgil::net
