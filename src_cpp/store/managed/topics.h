// Names of topics: found without a lock, added under one, never removed.
#pragma once

#include <optional>
#include <string_view>

#include "store/managed/robust_mutex.h"
#include "store/managed/segment.h"

namespace offgil::store::managed {

inline constexpr std::uint32_t kNoTopic = kTopics;  ///< find_topic: nobody has used that name

/// The index of `name`; 0 for no name.
std::uint32_t find_topic(const Segment &segment, std::optional<std::string_view> name);

/// The same, but makes the topic if need be; kNoTopic if Mode::Try would have to wait.
/// Throws Error(KeyTooLong) for a name over kMaxTopic bytes, Error(Full) after kTopics - 1 names.
std::uint32_t make_topic(const Segment &segment, std::optional<std::string_view> name, Mode mode);

}  // namespace offgil::store::managed
