// _core.Batch: a net::Batch that Python drives, under offgil.Client.map.
#include <atomic>
#include <memory>
#include <unordered_map>
#include <vector>

#include "binding/bind.h"
#include "binding/convert.h"
#include "binding/net_body.h"
#include "net/batch.h"

namespace offgil::binding {

using namespace nb::literals;

namespace {

/// Locking: `busy` admits one thread at a time; the rest belongs to whoever holds it.
class PyBatch {
  public:
    PyBatch(nb::handle client, std::size_t connections)
        : response_type_(response_type_of(client)),
          batch_(std::make_unique<net::Batch>(core_of(client), connections)) {}

    void add(nb::str method, nb::str url, nb::handle headers, nb::handle body, nb::tuple limits,
             const PyCancelToken *cancel, std::uint64_t tag) {
        Turn turn(busy_, kRefusal);
        require_usable();
        refuse_iterable(body);
        net::Request request = request_of(method, url, headers, body, limits, cancel);
        if (!body.is_none()) bodies_.emplace(tag, nb::borrow(body));
        batch_->add(std::move(request), tag);
    }

    nb::list wait(nb::handle timeout) {
        Turn turn(busy_, kRefusal);
        require_usable();
        net::Nanos deadline = net::deadline_after(net::monotonic_now(), timeout_ns(timeout));
        net::Interrupt interrupt = signal_check();
        bool interrupted = false;
        std::vector<net::Batch::Completion> done =
            without_gil([&] { return batch_->wait(deadline, interrupt, interrupted); });
        if (interrupted) throw nb::python_error();
        if (done.empty()) require_usable();
        nb::list results;
        for (auto &[tag, result] : done) {
            bodies_.erase(tag);
            auto *error = std::get_if<net::Error>(&result);
            nb::object outcome =
                error ? make_exception(*error)
                      : make_response(response_type_, std::get<net::Response>(std::move(result)));
            results.append(nb::make_tuple(tag, std::move(outcome)));
        }
        return results;
    }

    void close() {
        Turn turn(busy_, kRefusal);
        without_gil([&] { batch_.reset(); });  // ends connections
        bodies_.clear();
    }

  private:
    static constexpr const char *kRefusal = "a batch belongs to one thread at a time; make one for each";

    void require_usable() const {
        if (!batch_ || !batch_->usable())
            throw NetException({net::ErrorKind::closed,
                                "the batch or its client is closed, or this process was forked off since"});
    }

    const nb::object response_type_;
    std::atomic_flag busy_;
    std::unordered_map<std::uint64_t, nb::object> bodies_;  // outlives batch_, which borrows from it
    std::unique_ptr<net::Batch> batch_;
};

}  // namespace

void bind_batch(nb::module_ &m) {
    nb::class_<PyBatch>(m, "Batch", "Many requests at once on the calling thread.")
        .def(nb::init<nb::handle, std::size_t>(), "client"_a, "connections"_a, nb::keep_alive<1, 2>(),
             nb::sig("def __init__(self, client: Client, connections: int) -> None"))
        .def("add", &PyBatch::add, "method"_a, "url"_a, "headers"_a.none(), "body"_a.none(), "limits"_a,
             "cancel"_a.none(), "tag"_a,
             nb::sig(
                 "def add(self, method: str, url: str, headers: list[tuple[str, str | None]] | None, body: "
                 "bytes | FileBody | IterableBody | None, "
                 "limits: tuple[float | None, ...], cancel: CancelToken | None, tag: int) -> None"),
             "Queue a request.")
        .def("wait", &PyBatch::wait, "timeout"_a.none(),
             nb::sig("def wait(self, timeout: float | None) -> list[tuple[int, Response | Exception]]"),
             "Drive all requests, detached, until one or more are complete or `timeout` seconds are over.")
        .def("close", &PyBatch::close, "Drop what is in flight and end the connections.");
}

}  // namespace offgil::binding
