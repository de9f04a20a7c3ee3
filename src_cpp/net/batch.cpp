#include "net/batch.h"

#include <algorithm>
#include <utility>

namespace offgil::net {

namespace {

/// A transfer may enter a phase of a shorter limit right after a scan.  Never at once, even if a limit is 0.
Nanos next_scan(const Transfer &transfer, Nanos now) {
    return deadline_after(now, std::max(transfer.shortest_limit(), kMillisecond));
}

}  // namespace

Batch::Batch(Client &client, std::size_t connections)
    : client_(client), pool_(client.pool()), multi_(std::make_unique<Multi>()) {
    curl_multi_setopt(multi_->handle(), CURLMOPT_MAXCONNECTS, static_cast<long>(connections));
    if (!pool_.enlist(multi_.get())) multi_->close();
}

Batch::~Batch() {
    if (pool_.generation() != fork_generation()) {
        // A forked child: the handles are the parent's to clean up (Client::pool).
        static_cast<void>(multi_.release());
        for (auto *items : {&running_, &spare_})
            for (auto &item : *items) static_cast<void>(item.release());
        return;
    }
    pool_.dismiss(multi_.get());
    for (; !running_.empty(); retire(running_.back().get())) pool_.counters().drop();
}

bool Batch::usable() const {
    return !multi_->closed() && pool_.generation() == fork_generation();
}

void Batch::add(Request request, std::uint64_t tag) {
    std::unique_ptr<Item> item;
    if (spare_.empty()) {
        item = std::make_unique<Item>(pool_.config(), pool_.sockets());
        curl_easy_setopt(item->transfer.easy(), CURLOPT_PRIVATE, item.get());
    } else {
        item = std::move(spare_.back());
        spare_.pop_back();
    }
    item->request = std::move(request);
    item->tag = tag;
    item->index = running_.size();
    Nanos now = monotonic_now();
    item->transfer.begin(item->request, now, deadline_after(now, item->request.timeouts.total));
    item->link = CancelToken::Link(item->request.cancel, *multi_);
    pool_.counters().begin();
    scan_at_ = std::min({scan_at_, item->transfer.deadline(now), next_scan(item->transfer, now)});
    curl_multi_add_handle(multi_->handle(), item->transfer.easy());
    running_.push_back(std::move(item));
}

void Batch::retire(Item *item) {
    curl_multi_remove_handle(multi_->handle(), item->transfer.easy());
    item->link = {};
    item->request.upload.reset();  // a spare item holds no file open
    std::size_t hole = item->index;
    spare_.push_back(std::move(running_[hole]));
    if (hole + 1 != running_.size()) {
        running_[hole] = std::move(running_.back());
        running_[hole]->index = hole;
    }
    running_.pop_back();
}

void Batch::collect(std::vector<Completion> &done, Nanos now) {
    int left = 0;
    while (CURLMsg *message = curl_multi_info_read(multi_->handle(), &left)) {
        if (message->msg != CURLMSG_DONE) continue;
        CURLcode code = message->data.result;
        Item *item = nullptr;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &item);
        if (item->transfer.wants_restart(now)) {
            curl_multi_remove_handle(multi_->handle(), item->transfer.easy());
            curl_multi_add_handle(multi_->handle(), item->transfer.easy());
            continue;
        }
        done.push_back({item->tag, item->transfer.finish(code, now)});
        pool_.counters().end(done.back().result, item->transfer.traffic());
        retire(item);
    }
}

void Batch::expire(std::vector<Completion> &done, Nanos now) {
    scan_at_ = kNever;
    for (std::size_t i = 0; i < running_.size();) {
        Item *item = running_[i].get();
        Nanos deadline = item->transfer.deadline(now);
        if (now >= deadline) {
            done.push_back({item->tag, item->transfer.timeout_error(now)});
            pool_.counters().end(done.back().result, item->transfer.traffic());
            retire(item);
        } else {
            scan_at_ = std::min({scan_at_, deadline, next_scan(item->transfer, now)});
            ++i;
        }
    }
}

void Batch::drop_cancelled(std::vector<Completion> &done) {
    for (std::size_t i = 0; i < running_.size();) {
        Item *item = running_[i].get();
        if (!item->link.cancelled()) {
            ++i;
            continue;
        }
        done.push_back({item->tag, failure(ErrorKind::cancelled, item->request)});
        pool_.counters().end(done.back().result, item->transfer.traffic());
        retire(item);
    }
}

std::vector<Batch::Completion> Batch::wait(Nanos deadline, const Interrupt &interrupt, bool &interrupted) {
    std::vector<Completion> done;
    interrupted = false;
    Nanos now = monotonic_now();
    Nanos ask_at = deadline_after(now, interrupt.every);
    for (;;) {
        // First, so that what was cancelled before it began is not sent.
        if (multi_->take_wake()) drop_cancelled(done);
        int running = 0;
        curl_multi_perform(multi_->handle(), &running);
        now = monotonic_now();
        collect(done, now);
        if (now >= scan_at_) expire(done, now);
        if (!done.empty() || now >= deadline || multi_->closed()) return done;
        bool ready = multi_->poll(now, std::min({deadline, scan_at_, ask_at}));
        if (interrupt.requested && (!ready || now >= ask_at)) {
            if ((interrupted = interrupt())) return done;
            ask_at = deadline_after(monotonic_now(), interrupt.every);
        }
    }
}

}  // namespace offgil::net
