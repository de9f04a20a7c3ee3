#include "net/running.h"

#include <algorithm>
#include <new>
#include <utility>

#include "net/client.h"

namespace offgil::net {

namespace {

/// A transfer may enter a phase of a shorter limit right after a scan.  Never at once, even if a limit is 0.
Nanos next_scan(const Transfer &transfer, Nanos now) {
    return deadline_after(now, std::max(transfer.shortest_limit(), kMillisecond));
}

}  // namespace

Running::Running(Pool &pool, OnEnd on_end)
    : pool_(pool), on_end_(std::move(on_end)), multi_(std::make_unique<Multi>()) {
    if (!pool_.enlist(multi_.get())) multi_->close();
}

Running::~Running() {
    if (pool_.generation() != fork_generation()) {
        // A forked child: the handles are the parent's to clean up (Client::pool).
        static_cast<void>(multi_.release());
        for (auto *items : {&items_, &spare_})
            for (auto &item : *items) static_cast<void>(item.release());
        return;
    }
    pool_.dismiss(multi_.get());
    while (!items_.empty()) drop(*items_.back());
}

bool Running::usable() const {
    return !multi_->closed() && pool_.generation() == fork_generation();
}

Running::Item &Running::start(Request request, std::uint64_t tag, Nanos until, std::shared_ptr<Feed> feed) {
    std::unique_ptr<Item> made;
    if (spare_.empty()) {
        made = std::make_unique<Item>(pool_.config(), pool_.sockets());
        curl_easy_setopt(made->transfer.easy(), CURLOPT_PRIVATE, made.get());
    } else {
        made = std::move(spare_.back());
        spare_.pop_back();
    }
    Item &item = *made;
    item.request = std::move(request);
    item.feed = std::move(feed);
    item.opened = false;
    item.tag = tag;
    item.index = items_.size();
    const Nanos now = monotonic_now();
    item.transfer.begin(item.request, now, until,
                        item.feed ? Transfer::Delivery::pieces : Transfer::Delivery::whole);
    item.link = CancelToken::Link(item.request.cancel, *multi_);
    scan_at_ = std::min({scan_at_, item.transfer.deadline(now), next_scan(item.transfer, now)});
    // Nobody would ever report the end of one that is not in there.
    if (curl_multi_add_handle(multi_->handle(), item.transfer.easy()) != CURLM_OK) throw std::bad_alloc();
    items_.push_back(std::move(made));
    return item;
}

void Running::end(Item &item, Result result) {
    pool_.counters().end(result, item.transfer.traffic());
    on_end_(item, std::move(result));
    retire(item);
}

void Running::fail(Item &item, Error error) {
    end(item, std::move(error));
}

void Running::drop(Item &item) {
    pool_.counters().drop();
    retire(item);
}

void Running::retire(Item &item) {
    curl_multi_remove_handle(multi_->handle(), item.transfer.easy());
    item.link = {};
    // A spare item holds no body and no file open.
    item.request.body_owner = nullptr;
    item.request.upload = nullptr;
    item.request.pipe = nullptr;
    item.request.save_to_owner = nullptr;
    item.feed = nullptr;
    const std::size_t hole = item.index;
    spare_.push_back(std::move(items_[hole]));
    if (hole + 1 != items_.size()) {
        items_[hole] = std::move(items_.back());
        items_[hole]->index = hole;
    }
    items_.pop_back();
}

bool Running::turn() {
    // First, so that what was cancelled before it began is not sent.
    const bool woken = multi_->take_wake();
    if (woken) drop_cancelled();
    int running = 0;
    curl_multi_perform(multi_->handle(), &running);
    const Nanos now = monotonic_now();
    collect(now);
    if (now >= scan_at_) expire(now);
    return woken;
}

void Running::collect(Nanos now) {
    ended_.clear();
    // All messages before any end: to remove a handle, libcurl searches those that nobody has read.
    int left = 0;
    while (CURLMsg *message = curl_multi_info_read(multi_->handle(), &left)) {
        if (message->msg != CURLMSG_DONE) continue;
        Item *item = nullptr;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &item);
        ended_.emplace_back(item, message->data.result);
    }
    for (auto [item, code] : ended_) {
        if (item->transfer.wants_restart(now)) {
            curl_multi_remove_handle(multi_->handle(), item->transfer.easy());
            if (curl_multi_add_handle(multi_->handle(), item->transfer.easy()) == CURLM_OK) continue;
            code = CURLE_OUT_OF_MEMORY;
        }
        end(*item, item->transfer.finish(code, now));
    }
}

Nanos Running::deadline(Item &item, Nanos now) {
    // The time in which nobody waits for more of a body does not count.
    if (item.opened) item.transfer.count_from(item.feed->wanted_since(now));
    return item.transfer.deadline(now);
}

void Running::expire() {
    const Nanos now = monotonic_now();
    if (now >= scan_at_) expire(now);
}

void Running::expire(Nanos now) {
    scan_at_ = kNever;
    for (std::size_t i = 0; i < items_.size();) {
        Item &item = *items_[i];
        const Nanos due = deadline(item, now);
        if (now >= due) {
            end(item, item.transfer.timeout_error(now));  // moves another item here
        } else {
            scan_at_ = std::min({scan_at_, due, next_scan(item.transfer, now)});
            ++i;
        }
    }
}

void Running::drop_cancelled() {
    for (std::size_t i = 0; i < items_.size();) {
        Item &item = *items_[i];
        if (item.link.cancelled())
            end(item, failure(ErrorKind::cancelled, item.request));  // moves another item here
        else
            ++i;
    }
}

}  // namespace offgil::net
