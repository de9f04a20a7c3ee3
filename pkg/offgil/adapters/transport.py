"""The blocking transport of httpx and httpx2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from offgil import _core
from offgil.adapters.common import AnyTransport
from offgil.adapters.network import NetworkStream
from offgil.adapters.package import Package
from offgil.adapters.trace import Tracer
from offgil.content import Body, iterable_body
from offgil.errors import ConnectError, ConnectTimeout, InvalidURL, RequestError

__all__ = ["ResponseStream", "Transport"]


class Transport(AnyTransport):
    """A blocking transport; see :class:`AnyTransport`."""

    def handle_request(self, request: Any) -> Any:
        """Send a request, on the calling thread and off the GIL, and return its answer with the body to be read."""
        tracer = self._tracer(request)
        try:
            stream = self._open(request, tracer)
        except (RequestError, InvalidURL) as error:
            raised = self.package.error(error)
            if tracer is not None:
                tracer.tell(tracer.failure(error, raised))
            raise raised from error
        network = NetworkStream(stream)
        if tracer is not None:
            try:
                tracer.tell(tracer.head(stream, network))
            except BaseException:
                stream.close()
                raise
        return self._response(stream, network, self.package.stream(self.package, stream, tracer))

    def _open(self, request: Any, tracer: Tracer | None) -> _core.Stream:
        attempts = 0
        while True:
            arguments, target, connect_to = self._arguments(request, self._body(request))
            try:
                return _core.Stream(self._core, *arguments, target, connect_to)
            except (ConnectError, ConnectTimeout):
                attempts += 1
                if (delay := self._delay(attempts)) is None:
                    raise
            if tracer is not None:
                tracer.tell(tracer.retry())
            self._core.pause(delay, None)

    def _body(self, request: Any) -> Body | None:
        if isinstance(request.stream, self.package.module.ByteStream):
            return request.read() or None
        return iterable_body(request.stream, request.headers.get_list("content-length"))

    def close(self) -> None:
        """End what runs, in any thread, and refuse further use.  Idempotent."""
        self._core.close()


class ResponseStream:
    """The body of a blocking answer.

    Thread-safety: compatible; a second thread that calls in at the same time gets a :class:`RuntimeError`.
    """

    def __init__(self, package: Package, stream: _core.Stream, tracer: Tracer | None) -> None:
        self._package = package
        self._stream = stream
        self._tracer = tracer

    def __iter__(self) -> Iterator[bytes]:
        # Mostly all of a small answer comes at once.
        if self._tracer is None and (rest := self._stream.rest()) is not None:
            return iter((rest,) if rest else ())
        return self._pieces()

    def _pieces(self) -> Iterator[bytes]:
        if self._tracer is not None:
            self._tracer.tell(self._tracer.body_started())
        raised: Exception | None = None
        try:
            while (piece := self._stream.next()) is not None:
                yield piece
        except (RequestError, InvalidURL) as error:
            raised = self._package.error(error)
            raise raised from error
        finally:
            if self._tracer is not None:
                self._tracer.tell(self._tracer.body_over(raised))

    def close(self) -> None:
        """Drop what is unread, with the connection if the answer is not over.  Idempotent."""
        self._stream.close()
        if self._tracer is not None:
            tracer, self._tracer = self._tracer, None
            tracer.tell(tracer.closed())
