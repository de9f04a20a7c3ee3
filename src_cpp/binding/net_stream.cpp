// _core.Stream: a net::Stream that Python pulls, the base class of offgil.StreamResponse.
#include <atomic>
#include <optional>
#include <string_view>

#include "binding/bind.h"
#include "binding/net_head.h"
#include "net/stream.h"

namespace offgil::binding {

using namespace nb::literals;

namespace {

/// Locking: `busy_` admits one thread at a time to `stream_`, but for its head, which never changes; the rest
/// is written by the constructor only.
class PyStream {
  public:
    PyStream(nb::handle client, nb::str method, nb::str url, nb::handle headers, nb::handle body,
             nb::tuple limits, const PyCancelToken *cancel, nb::handle target, nb::handle connect_to)
        : body_(nb::borrow(body)), stream_(core_of(client), [&] {
              net::Request request = request_of(method, url, headers, body, limits, cancel);
              aim(request, target, connect_to);
              return request;
          }()) {
        net::Interrupt interrupt = signal_check();
        std::optional<net::Error> error = without_gil([&] { return stream_.open(interrupt); });
        if (error) raise(std::move(*error));
    }

    nb::object next() {
        Turn turn(busy_, kRefusal);
        net::Interrupt interrupt = signal_check();
        auto outcome = [&] {
            // What is there already is not worth handing the interpreter to someone else.
            std::optional<Detached> detached;
            if (stream_.waits()) detached.emplace();
            return stream_.next(interrupt);
        }();
        if (auto *error = std::get_if<net::Error>(&outcome)) raise(std::move(*error));
        auto piece = std::get<std::string_view>(outcome);
        if (piece.empty()) return nb::none();
        return nb::bytes(piece.data(), piece.size());
    }

    /// What next() would return in pieces, if all of it is there.
    nb::object rest() {
        Turn turn(busy_, kRefusal);
        if (!stream_.complete()) return nb::none();
        auto outcome = stream_.next({});
        auto piece = std::get<std::string_view>(outcome);
        return nb::bytes(piece.data(), piece.size());
    }

    void close() {
        Turn turn(busy_, kRefusal);
        {
            std::optional<Detached> detached;
            if (stream_.running()) detached.emplace();
            stream_.close();
        }
        body_.reset();  // an iterable may hold what holds this
    }

    const net::Response &head() const { return stream_.head(); }

  private:
    static constexpr const char *kRefusal = "a stream belongs to one thread at a time";

    nb::object body_;  // outlives stream_, which borrows from it
    std::atomic_flag busy_;
    net::Stream stream_;
};

}  // namespace

void bind_stream(nb::module_ &m) {
    nb::class_<PyStream> stream(m, "Stream", "A response whose body comes in pieces, on the calling thread.");
    bind_head(stream);
    bind_details(stream);
    stream
        .def(nb::init<nb::handle, nb::str, nb::str, nb::handle, nb::handle, nb::tuple, const PyCancelToken *,
                      nb::handle, nb::handle>(),
             "client"_a, "method"_a, "url"_a, "headers"_a.none(), "body"_a.none(), "limits"_a,
             "cancel"_a.none(), "target"_a.none() = nb::none(), "connect_to"_a.none() = nb::none(),
             nb::keep_alive<1, 2>(),
             nb::sig("def __init__(self, client: Client, method: str, url: str, "
                     "headers: list[tuple[str, str | None]] | list[tuple[bytes, bytes]] | None, "
                     "body: bytes | FileBody | IterableBody | None, limits: tuple[float | None, ...], "
                     "cancel: CancelToken | None, target: bytes | None = None, "
                     "connect_to: str | None = None) -> None"),
             "Send a request, detached, and wait for the head of its answer.")
        .def("next", &PyStream::next, nb::sig("def next(self) -> bytes | None"),
             "Wait, detached, for the next bytes of the body; None at its end.")
        .def("rest", &PyStream::rest, nb::sig("def rest(self) -> bytes | None"),
             "The rest of the body, if it is all there; None if not, or if it ends in an error.")
        .def("close", &PyStream::close, "Drop what is unread; ends a connection in the middle of an answer.");
}

}  // namespace offgil::binding
