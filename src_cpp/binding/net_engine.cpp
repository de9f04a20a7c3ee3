// _core.Mailbox and _core.AsyncStream: one event loop's end of a net::Engine, under offgil.AsyncClient.
//
// None of this detaches: what takes a lock holds it for moving a pointer, and nothing waits.
#include <nanobind/stl/optional.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "binding/bind.h"
#include "binding/convert.h"
#include "binding/net_body.h"
#include "binding/net_head.h"
#include "net/client.h"
#include "net/engine.h"

namespace offgil::binding {

using namespace nb::literals;

namespace {

/// References that are given up where no Python may run, in particular on the engine's thread; they are
/// dropped by the next call that is attached.
///
/// Locking: a lock-free list, so that a forked child cannot find it locked.
class Graves {
  public:
    /// Keeps `object` alive for as long as the pointer or a copy of it lives.
    static std::shared_ptr<const void> hold(nb::object object) {
        return std::shared_ptr<Grave>(new Grave{object.release().ptr(), nullptr}, &bury);
    }

    static void clear() {
        if (!newest_.load(std::memory_order_relaxed)) return;
        std::unique_ptr<Grave> grave(newest_.exchange(nullptr, std::memory_order_acquire));
        while (grave) {
            Py_DECREF(grave->object);
            grave.reset(grave->next);
        }
    }

  private:
    struct Grave {
        PyObject *object;
        Grave *next;
    };

    static void bury(Grave *grave) {
        grave->next = newest_.load(std::memory_order_relaxed);
        while (!newest_.compare_exchange_weak(grave->next, grave, std::memory_order_release,
                                              std::memory_order_relaxed))
            continue;
    }

    static inline std::atomic<Grave *> newest_{nullptr};
};

/// A request's body that Python brings while its request runs.
///
/// Locking: `pipe` locks by itself, the rest never changes.
struct PyFedBody {
    explicit PyFedBody(std::optional<std::uint64_t> bytes) : size(bytes) {}

    void begin(net::Request &request) const {
        request.pipe = pipe;
        request.upload = std::make_shared<net::FedUpload>(
            size, net::FedUpload::Source{&net::Pipe::pour, request.pipe.get()});
    }

    void give(nb::bytes piece) const {
        const std::string_view bytes(piece.c_str(), piece.size());
        pipe->give(bytes, Graves::hold(std::move(piece)));
    }

    const std::optional<std::uint64_t> size;
    const std::shared_ptr<net::Pipe> pipe = std::make_shared<net::Pipe>();
};

/// Gives the request a descriptor of its own: the caller's may be closed while the engine still writes.
void keep_open(net::Request &request, int descriptor) {
    request.save_to = duplicate(descriptor);
    auto close_it = [owned = request.save_to](const void *) { ::close(owned); };
    request.save_to_owner = std::shared_ptr<const void>(nullptr, close_it);
}

/// Locking: nothing here changes after construction; mailbox and engine lock by themselves.
class PyMailbox {
  public:
    PyMailbox(nb::object client, nb::object stream_type)
        : client_(std::move(client)),
          response_type_(response_type_of(client_)),
          stream_type_(std::move(stream_type)),
          generation_(net::fork_generation()),
          engine_(core_of(client_).pool().engine()),
          mailbox_(std::make_shared<net::Mailbox>()) {}

    ~PyMailbox() { abandon(); }

    int fileno() const { return mailbox_->descriptor(); }

    std::uint64_t submit(nb::str method, nb::str url, nb::handle headers, nb::handle body, nb::tuple limits,
                         const PyCancelToken *cancel, bool pieces, int save_to, nb::handle target,
                         nb::handle connect_to) {
        Graves::clear();
        require_usable();
        refuse_iterable(body);
        const bool fed = nb::isinstance<PyFedBody>(body);
        net::Request request = request_of(method, url, headers, fed ? nb::none() : body, limits, cancel);
        if (fed) nb::cast<PyFedBody &>(body).begin(request);
        aim(request, target, connect_to);
        if (PyBytes_Check(body.ptr())) request.body_owner = Graves::hold(nb::borrow(body));
        if (save_to >= 0) keep_open(request, save_to);
        if (auto tag = engine_.submit(std::move(request), mailbox_, pieces)) return *tag;
        throw NetException(net::failure(net::ErrorKind::closed,
                                        request_of(method, url, nb::none(), nb::none(), limits, cancel)));
    }

    std::uint64_t pause(nb::handle seconds, const PyCancelToken *cancel) {
        require_usable();
        if (auto tag = engine_.pause(timeout_ns(seconds), cancel ? cancel->token : nullptr, mailbox_))
            return *tag;
        throw NetException(net::pause_failure(net::ErrorKind::closed));
    }

    void cancel(std::uint64_t tag) {
        if (usable()) engine_.cancel(tag);
    }

    void abandon() {
        if (usable()) engine_.abandon(mailbox_);
    }

    void nudge() {
        if (usable()) engine_.nudge();
    }

    nb::list take(nb::handle self);

    bool usable() const { return generation_ == net::fork_generation(); }

  private:
    void require_usable() const {
        if (!usable())
            throw NetException({net::ErrorKind::closed,
                                "this process was forked off since the event loop was first used with the "
                                "client; run a new loop here"});
    }

    const nb::object client_;  // first: its pool has the engine
    const nb::object response_type_;
    const nb::object stream_type_;
    const std::uint32_t generation_;
    net::Engine &engine_;
    const std::shared_ptr<net::Mailbox> mailbox_;
};

/// Locking: `feed_` locks by itself, the rest never changes.
class PyAsyncStream {
  public:
    PyAsyncStream(nb::object mailbox, std::uint64_t tag, net::Response head, std::shared_ptr<net::Feed> feed)
        : mailbox_object_(std::move(mailbox)),
          mailbox_(nb::cast<PyMailbox &>(mailbox_object_)),
          tag_(tag),
          head_(std::move(head)),
          feed_(std::move(feed)) {}
    PyAsyncStream(const PyAsyncStream &) = delete;
    ~PyAsyncStream() { close(); }

    nb::object next() {
        auto [what, refill] = feed_->take();
        if (refill) mailbox_.nudge();
        if (auto *error = std::get_if<net::Error>(&what)) throw NetException(std::move(*error));
        if (std::holds_alternative<net::Feed::End>(what)) return nb::none();
        auto *piece = std::get_if<net::Body>(&what);
        return piece ? nb::bytes(piece->data(), piece->size()) : nb::bytes("", 0);
    }

    void close() {
        // The parent's engine may have held the feed's lock when this process was forked off.
        if (mailbox_.usable() && feed_->close()) mailbox_.cancel(tag_);
    }

    std::uint64_t number() const { return tag_; }
    const net::Response &head() const { return head_; }

  private:
    const nb::object mailbox_object_;
    PyMailbox &mailbox_;
    const std::uint64_t tag_;
    const net::Response head_;
    const std::shared_ptr<net::Feed> feed_;
};

nb::object make_stream(nb::handle type, nb::handle mailbox, std::uint64_t tag, net::Response head,
                       std::shared_ptr<net::Feed> feed) {
    nb::object object = nb::inst_alloc(type);
    new (nb::inst_ptr<PyAsyncStream>(object))
        PyAsyncStream(nb::borrow(mailbox), tag, std::move(head), std::move(feed));
    nb::inst_mark_ready(object);
    return object;
}

nb::list PyMailbox::take(nb::handle self) {
    Graves::clear();
    nb::list events;
    if (!usable()) return events;
    for (net::Event &event : mailbox_->take()) {
        nb::object outcome = nb::none();
        if (auto *error = std::get_if<net::Error>(&event.outcome))
            outcome = make_exception(*error);
        else if (auto *response = std::get_if<net::Response>(&event.outcome))
            outcome = event.feed ? make_stream(stream_type_, self, event.tag, std::move(*response),
                                               std::move(event.feed))
                                 : make_response(response_type_, std::move(*response));
        events.append(nb::make_tuple(event.tag, std::move(outcome)));
    }
    return events;
}

}  // namespace

void bind_engine(nb::module_ &m) {
    nb::class_<PyMailbox>(m, "Mailbox", "One event loop's requests on the thread of a client's engine.")
        .def(nb::init<nb::object, nb::object>(), "client"_a, "stream_type"_a,
             nb::sig("def __init__(self, client: Client, stream_type: type[AsyncStream]) -> None"))
        .def("fileno", &PyMailbox::fileno, "The descriptor that is readable while take() has something.")
        .def("submit", &PyMailbox::submit, "method"_a, "url"_a, "headers"_a.none(), "body"_a.none(),
             "limits"_a, "cancel"_a.none(), "pieces"_a, "save_to"_a = -1, "target"_a.none() = nb::none(),
             "connect_to"_a.none() = nb::none(),
             nb::sig(
                 "def submit(self, method: str, url: str, "
                 "headers: list[tuple[str, str | None]] | list[tuple[bytes, bytes]] | None, "
                 "body: bytes | FileBody | IterableBody | FedBody | None, limits: tuple[float | None, ...], "
                 "cancel: CancelToken | None, pieces: bool, save_to: int = -1, "
                 "target: bytes | None = None, connect_to: str | None = None) -> int"),
             "Start a request; take() brings its end, or with `pieces` its head.  A 2xx body goes to "
             "`save_to`.")
        .def("pause", &PyMailbox::pause, "seconds"_a, "cancel"_a.none(),
             nb::sig("def pause(self, seconds: float, cancel: CancelToken | None) -> int"),
             "Start a pause, which a close and the token end early, and return its number.")
        .def("cancel", &PyMailbox::cancel, "number"_a,
             "End a request without a word; nothing happens if it is over.")
        .def("nudge", &PyMailbox::nudge, "Make the engine look at what a FedBody was given.")
        .def("abandon", &PyMailbox::abandon, "End all that is under way, without a word.")
        .def(
            "take", [](nb::handle_t<PyMailbox> self) { return nb::cast<PyMailbox &>(self).take(self); },
            nb::sig("def take(self) -> list[tuple[int, Response | AsyncStream | Exception | None]]"),
            "What came since the last time; None where a pause is over or a stream has something.");

    nb::class_<PyFedBody>(m, "FedBody", "The body of one request of a Mailbox, brought piece by piece.")
        .def(nb::init<std::optional<std::uint64_t>>(), "size"_a.none(),
             "`size` is how many bytes there will be, None for any number.")
        .def_prop_ro(
            "asks", [](const PyFedBody &self) { return self.pipe->asked(); },
            "Whether the next piece is wanted; take() brings None when it is.")
        .def("give", &PyFedBody::give, "piece"_a, "Bring a piece, not empty, then nudge() the mailbox.")
        .def(
            "finish", [](const PyFedBody &self) { self.pipe->finish(); },
            "Say that there is no more, then nudge() the mailbox.");

    nb::class_<PyAsyncStream> stream(m, "AsyncStream", "A response whose body comes in pieces by itself.");
    bind_head(stream);
    bind_details(stream);
    stream.def_prop_ro("number", &PyAsyncStream::number)
        .def("next", &PyAsyncStream::next, nb::sig("def next(self) -> bytes | None"),
             "The next bytes of the body; None at its end; b\"\" if take() will tell when there are any.")
        .def("close", &PyAsyncStream::close,
             "Drop what is unread; ends a connection in the middle of an answer.");
}

}  // namespace offgil::binding
