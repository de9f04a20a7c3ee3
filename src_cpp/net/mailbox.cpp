#include "net/mailbox.h"

#include <fcntl.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#endif

#include <cerrno>
#include <system_error>
#include <utility>

namespace offgil::net {

Mailbox::Mailbox() {
#ifdef __linux__
    read_end_ = write_end_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (read_end_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
#else
    int ends[2];
    if (::pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    for (int end : ends) {
        ::fcntl(end, F_SETFD, FD_CLOEXEC);
        ::fcntl(end, F_SETFL, O_NONBLOCK);
    }
    read_end_ = ends[0];
    write_end_ = ends[1];
#endif
}

Mailbox::~Mailbox() {
    ::close(read_end_);
    if (write_end_ != read_end_) ::close(write_end_);
}

void Mailbox::put(Event event) {
    std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
}

void Mailbox::ring() {
    std::lock_guard lock(mutex_);
    if (rung_ || events_.empty()) return;
    // Eight bytes are what an eventfd wants.  There is never more than one ring in the descriptor.
    const std::uint64_t one = 1;
    rung_ = ::write(write_end_, &one, sizeof one) == sizeof one;
}

std::vector<Event> Mailbox::take() {
    std::lock_guard lock(mutex_);
    std::uint64_t count = 0;
    if (rung_) rung_ = ::read(read_end_, &count, sizeof count) != sizeof count;
    return std::exchange(events_, {});
}

}  // namespace offgil::net
