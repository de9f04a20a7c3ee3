#include "store/managed/topics.h"

#include <cstring>

namespace offgil::store::managed {

namespace {

/// The slot of `name`, or the free one where it belongs, or kNoTopic if there is neither.
std::uint32_t probe(const Segment &segment, std::string_view name, std::uint32_t hash) {
    for (std::uint32_t step = 0; step < kTopics - 1; ++step) {
        const std::uint32_t i = 1 + (hash + step) % (kTopics - 1);
        const Topic &topic = segment.topic(i);
        if (!topic.ready.load(std::memory_order_acquire)) return i;
        if (topic.hash == hash && topic.length == name.size() &&
            std::memcmp(topic.name, name.data(), name.size()) == 0)
            return i;
    }
    return kNoTopic;
}

}  // namespace

std::uint32_t find_topic(const Segment &segment, std::optional<std::string_view> name) {
    if (!name) return 0;
    if (name->size() > kMaxTopic)
        throw Error(ErrorKind::KeyTooLong,
                    "a topic's name may take 240 bytes of UTF-8, not " + std::to_string(name->size()));
    const std::uint32_t i = probe(segment, *name, segment.hash(*name));
    return i == kNoTopic || segment.topic(i).ready.load(std::memory_order_acquire) ? i : kNoTopic;
}

std::uint32_t make_topic(const Segment &segment, std::optional<std::string_view> name, Mode mode) {
    if (const std::uint32_t found = find_topic(segment, name); found != kNoTopic) return found;
    // Nothing to repair: an entry is not there until it is ready.
    LockMutex lock(segment, segment.header().topic_lock, mode, [] {});
    if (!lock.held()) return kNoTopic;
    const std::uint32_t hash = segment.hash(*name);
    const std::uint32_t i = probe(segment, *name, hash);
    if (i == kNoTopic)
        throw Error(ErrorKind::Full,
                    "a managed store keeps 1023 distinct topics, and all are in use; use fewer names");
    Topic &topic = segment.topic(i);
    if (!segment.back_topic(i))
        throw Error(ErrorKind::Full,
                    "no memory for one more topic; remove results or other files of that file system");
    if (topic.ready.load()) return i;
    topic.hash = hash;
    topic.length = static_cast<std::uint32_t>(name->size());
    std::memcpy(topic.name, name->data(), name->size());
    OFFGIL_FAULT();
    topic.ready.store(1, std::memory_order_release);
    return i;
}

}  // namespace offgil::store::managed
