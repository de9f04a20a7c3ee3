"""The asynchronous transport of httpx and httpx2, for asyncio and trio."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

from offgil import _core
from offgil.adapters.common import AnyTransport
from offgil.adapters.network import NetworkStream
from offgil.adapters.package import Package
from offgil.adapters.trace import Tracer
from offgil.async_loops import close_core, current_loop, open_port
from offgil.async_port import Port, Ports
from offgil.async_stream import AsyncStreamResponse
from offgil.async_upload import Feeder, outcome_of
from offgil.content import Body, announced_length
from offgil.errors import ConnectError, ConnectTimeout, InvalidURL, RequestError

__all__ = ["AsyncResponseStream", "AsyncTransport"]


class AsyncTransport(AnyTransport):
    """An asynchronous transport; see :class:`AnyTransport`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ports = Ports()

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request, on the transport's own thread, and return its answer with the body to be read."""
        tracer = self._tracer(request)
        try:
            stream = await self._open(request, tracer)
        except (RequestError, InvalidURL) as error:
            raised = self.package.error(error)
            if tracer is not None:
                await tracer.tell_async(tracer.failure(error, raised))
            raise raised from error
        network = NetworkStream(stream)
        if tracer is not None:
            try:
                await tracer.tell_async(tracer.head(stream, network))
            except BaseException:
                await stream.aclose()
                raise
        return self._response(stream, network, self.package.async_stream(self.package, stream, tracer))

    async def _open(self, request: Any, tracer: Tracer | None) -> AsyncStreamResponse:
        attempts = 0
        while True:
            port = self._port()
            body, feeder = self._body(request)
            arguments, target, connect_to = self._arguments(request, body)
            try:
                number = port.submit(*arguments, True, -1, target, connect_to)
                stream = await outcome_of(port, number, feeder)
            except (ConnectError, ConnectTimeout):
                attempts += 1
                if (delay := self._delay(attempts)) is None:
                    raise
            else:
                stream._attach(self, port, feeder)
                return cast(AsyncStreamResponse, stream)
            if tracer is not None:
                await tracer.tell_async(tracer.retry())
            await port.outcome_of(port.pause(delay, None))

    def _body(self, request: Any) -> tuple[Body | _core.FedBody | None, Feeder | None]:
        if isinstance(request.stream, self.package.module.ByteStream):
            return request.read() or None, None
        feeder = Feeder(request.stream, announced_length(request.headers.get_list("content-length")))
        return feeder.body, feeder

    async def aclose(self) -> None:
        """End what runs, in every event loop, and refuse further use.  Idempotent."""
        if self._ports:
            await close_core(self._core)
            self._ports.leave(current_loop())
        else:
            self._core.close()  # has no thread to wait for

    def _port(self) -> Port:
        loop = current_loop()
        port = self._ports.get(loop)
        if port is not None:
            return port
        return self._ports.open(self, self._core, loop, lambda: open_port(self._core, AsyncStreamResponse))


class AsyncResponseStream:
    """The body of an asynchronous answer.

    Thread-safety: compatible; belongs to the event loop that opened it, and to one task at a time.
    """

    def __init__(self, package: Package, stream: AsyncStreamResponse, tracer: Tracer | None) -> None:
        self._package = package
        self._stream = stream
        self._tracer = tracer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._tracer is not None:
            await self._tracer.tell_async(self._tracer.body_started())
        raised: Exception | None = None
        try:
            while (piece := await self._stream._next()) is not None:
                yield piece
        except (RequestError, InvalidURL) as error:
            raised = self._package.error(error)
            raise raised from error
        finally:
            if self._tracer is not None:
                await self._tracer.tell_async(self._tracer.body_over(raised))

    async def aclose(self) -> None:
        """Drop what is unread, with the connection if the answer is not over.  Idempotent."""
        await self._stream.aclose()
        if self._tracer is not None:
            tracer, self._tracer = self._tracer, None
            await tracer.tell_async(tracer.closed())
