// What the tests of the managed-dict store share.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include "store/managed/futex.h"
#include "store/managed/store.h"

namespace managed_test {

using namespace offgil::store::managed;

inline std::shared_ptr<Segment> make_segment(std::uint64_t max_bytes = 64 << 20,
                                             std::uint32_t max_entries = 1 << 14,
                                             Policy policy = Policy::Raise) {
    return Segment::create(max_bytes, max_entries, policy);
}

/// A handle in a logical process of its own.
inline std::unique_ptr<Store> join(const std::shared_ptr<Segment> &segment, bool creator = false) {
    return std::make_unique<Store>(std::make_shared<Process>(segment), creator);
}

inline Outcome put(Store &store, std::string_view key, std::string_view value, std::uint8_t priority = 0,
                   std::optional<std::string_view> topic = {}, bool if_absent = false) {
    const std::span<const std::byte> part = std::as_bytes(std::span(value));
    return store.put({key, 1, Kind::Value, priority, topic, 0, if_absent}, {&part, 1});
}

inline std::string text(const Fetched &fetched) {
    return {reinterpret_cast<const char *>(fetched.value().data()), fetched.value().size()};
}

inline std::optional<std::string> get(Store &store, std::string_view key, bool consume = false) {
    Fetched out;
    if (store.get(key, consume, out) != Outcome::Done) return {};
    return text(out);
}

/// The key of what take() hands out.
inline std::optional<std::string> take(Store &store, std::optional<std::string_view> topic = {}) {
    Fetched out;
    std::string key;
    if (store.take(topic, key, out) != Outcome::Done) return {};
    return key;
}

/// "key" and 7 make "key7".  (GCC 12 warns without reason about operator+ here.)
inline std::string name(const char *prefix, std::uint64_t number) {
    return std::string(prefix).append(std::to_string(number));
}

/// `size` bytes that nobody else would write: a torn or foreign value does not match().
inline std::string stamped(std::uint32_t number, std::size_t size) {
    std::string value(size < 8 ? 8 : size, static_cast<char>(number * 31 + 7));
    const std::uint32_t length = static_cast<std::uint32_t>(value.size());
    std::memcpy(value.data(), &number, 4);
    std::memcpy(value.data() + 4, &length, 4);
    return value;
}
inline bool is_stamped(std::string_view value) {
    std::uint32_t number = 0;
    if (value.size() < 8) return false;
    std::memcpy(&number, value.data(), 4);
    return value == stamped(number, value.size());
}

inline std::int64_t in_ms(std::int64_t ms) {
    return monotonic_ns() + ms * 1'000'000;
}

/// True if all memory of the data area can be had in one piece, so nothing leaked.
inline bool all_memory_is_free(Store &store) {
    const std::string everything(store.segment().data_bytes(), 'x');
    if (put(store, "everything", everything) != Outcome::Done) return false;
    return store.remove("everything") == Outcome::Done;
}

}  // namespace managed_test
