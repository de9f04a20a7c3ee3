#include "store/managed/held.h"

#include "store/managed/process.h"

namespace offgil::store::managed {

Held::Held(std::shared_ptr<Process> process, Use use, std::uint32_t shard, std::uint32_t record,
           std::span<std::byte> memory)
    : process_(std::move(process)),
      generation_(process_->generation()),
      use_(use),
      shard_(shard),
      record_(record),
      memory_(memory) {}

bool Held::is_ours() const {
    return process_->generation() == generation_;
}

void Held::drop(std::unique_ptr<Held> held) {
    if (!held || !held->record_) return;
    // Keeps the process alive for as long as this takes; the list must not, or it would keep itself.
    const std::shared_ptr<Process> process = std::move(held->process_);
    if (!process->let_go(*held, Mode::Try)) process->let_go_later(std::move(held));
}

}  // namespace offgil::store::managed
