// Values that stay in shared memory while they are read or written.
#include "store/managed/store.h"
#include "store/managed/topics.h"

namespace offgil::store::managed {

void Fetched::release() {
    if (!process_) return;
    const std::shared_ptr<Process> process = std::move(process_);
    try {
        const ShardTable shard(process->segment(), shard_);
        const LockMutex lock = lock_shard(process->segment(), shard_, Mode::Wait);
        process->unpin(shard, record_);
    } catch (const std::exception &) {
        // Damaged; whoever works with the store next will be told.  This one has its value.
    }
}

HeldPointer Fetched::keep() {
    HeldPointer held(new Held(process_, Held::Use::Reading, shard_, record_, {data_, size_}));
    process_->keep(record_);
    process_.reset();
    return held;
}

Outcome Store::reserve(std::string_view key, std::uint64_t length, HeldPointer &out,
                       const Patience &patience) {
    const std::uint32_t hash = checked_hash(key);
    prepare(Mode::Wait);
    const std::uint32_t index = shard_of(hash);
    const ShardTable shard(segment_, index);
    const auto owner = static_cast<std::uint16_t>(process_->slot());
    std::uint32_t record = 0;
    std::byte *place = nullptr;
    const auto attempt = [&] {
        const LockMutex lock = lock_shard(segment_, index, Mode::Wait);
        const Room room = shard.reserve(hash, key, length, Mode::Wait, true, owner, record);
        if (room == Room::Done) place = shard.value(segment_.record(record));
        return room;
    };
    const Room room = attempt();
    if (room != Room::Done && !find_room(room, length, index, patience, attempt)) return Outcome::Interrupted;
    out.reset(new Held(process_, Held::Use::Writing, index, record, {place, length}));
    OFFGIL_FAULT();
    return Outcome::Done;
}

Outcome Store::commit(const EntryRequest &request, Held &held, const Patience &patience) {
    const std::uint32_t hash = checked_hash(request.key);
    prepare(Mode::Wait);
    if (!held.is_ours())
        throw Error(ErrorKind::Unavailable,
                    "this memory was reserved by the parent process; reserve anew after a fork");
    const std::uint32_t topic = make_topic(segment_, request.topic, Mode::Wait);
    const std::uint32_t index = shard_of(hash);
    const ShardTable shard(segment_, index);
    Outcome outcome = Outcome::Done;
    const auto attempt = [&] {
        const LockMutex lock = lock_shard(segment_, index, Mode::Wait);
        const std::uint32_t existing = shard.find(hash, request.key);
        Room room = Room::Done;
        if (existing && request.if_absent) {
            shard.abandon(held.record());
            outcome = Outcome::Exists;
        } else {
            room = shard.publish(held.record(), existing, publication_of(request, topic));
        }
        // Under the lock: from here on the record is not ours.
        if (room == Room::Done) held.forget();
        return room;
    };
    const Room room = attempt();
    if (room != Room::Done && !find_room(room, held.memory().size(), index, patience, attempt))
        return Outcome::Interrupted;
    if (outcome == Outcome::Done) notify(hash, topic);
    return outcome;
}

}  // namespace offgil::store::managed
