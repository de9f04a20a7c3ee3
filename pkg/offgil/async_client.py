"""HTTP from asyncio, off the GIL and off the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, Unpack, cast

from offgil.async_map import map_requests
from offgil.async_port import AsyncioPort, Port, Ports
from offgil.async_stream import AsyncStreamResponse
from offgil.async_upload import Feeder, outcome_of
from offgil.client_base import BaseClient
from offgil.content import AsyncIterableBody
from offgil.download import Download, PartialFile
from offgil.errors import NoEventLoop
from offgil.exchange import Exchange, exchange
from offgil.map import Outcome
from offgil.request import Encoded, Request, RequestOptions, encode_url
from offgil.response import Head, Response

__all__ = ["AsyncClient"]

R = TypeVar("R", bound=Head)


class AsyncClient(BaseClient):
    """:class:`~offgil.Client` for asyncio: the same arguments, the same errors, the same answers.

    Requests run on one thread of the client's own, in the native core, which starts with the first of them and ends
    with :meth:`aclose`, with the client, or with the program.  Cancelling a task ends its request, and its connection,
    at once.  One client serves any number of event loops, each in its thread.

    A client can be used after a fork, by a new event loop in the child, and pickles as its configuration.

    For the arguments see :class:`BaseClient`; ``max_connections`` bounds requests in flight, streams and those of
    :meth:`map` included.

    Thread-safety: safe on shared objects.
    """

    #: An instance has a dict of its own from its first request on.
    _ports: Ports = Ports()
    _reads_asynchronously = True

    async def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send one request and return its whole answer; arguments as for :meth:`offgil.Client.request`.

        An iterable for ``content`` has to be an asynchronous one, which yields bytes as fast as the server takes them.
        It must not wait for the answer, which is read by the same task.

        Raises:
            RequestError: no usable answer; the subclass says why.
            InvalidURL: the URL cannot be parsed.
            TooManyRedirects: more than ``max_redirects``.
            Closed: the client is or was closed meanwhile.
            NoEventLoop: no asyncio event loop runs.
        """
        if self._is_direct and not options and "@" not in url:  # the most frequent call, and most of its cost in Python
            url = encode_url(url, self._base_url, self._params)
            port = self._port()
            number = port.submit(method, url, None, None, self._default_limits, None, False)
            return cast(Response, await port.outcome_of(number))
        return await self._call(*self._encode(method, url, **options), self._send)

    async def _call(self, encoded: Encoded, follow: bool, send: Callable[[Encoded], Awaitable[Response]]) -> Response:
        if self._is_plain(self._retry, follow):
            return await send(encoded)
        steps: Exchange[Response] = exchange(self, encoded, retry=self._retry, follow=follow)
        return await self._drive(steps, send)

    async def _send(self, encoded: Encoded, save_to: int = -1) -> Response:
        port = self._port()
        number, feeder = self._submit(port, encoded, False, save_to)
        return cast(Response, await outcome_of(port, number, feeder))

    def _submit(self, port: Port, encoded: Encoded, pieces: bool, save_to: int = -1) -> tuple[int, Feeder | None]:
        """Start a request; return its number, and what has to feed its body."""
        feeder = None
        if isinstance(encoded.body, AsyncIterableBody):
            feeder = Feeder(encoded.body.start(), encoded.body.size)
            encoded = encoded._replace(body=feeder.body)
        return port.submit(*encoded, pieces, save_to), feeder

    async def _drive(self, steps: Exchange[R], send: Callable[[Encoded], Awaitable[R]]) -> R:
        cancel = None
        try:
            step = next(steps)
            while True:
                if isinstance(step, float):
                    port = self._port()
                    await port.outcome_of(port.pause(step, cancel))
                    step = next(steps)
                    continue
                cancel = step.cancel
                try:
                    answer = await send(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            return cast(R, end.value)

    def stream(
        self, method: str, url: str, **options: Unpack[RequestOptions]
    ) -> AbstractAsyncContextManager[AsyncStreamResponse]:
        """Send one request and go on as soon as the head of its answer is there, in an ``async with`` statement.

        Arguments and errors as for :meth:`request`, but it is never sent again by the client's ``retry``.  The ``read``
        timeout bounds each wait for more of the body, and the time between two reads does not count; ``deadline``
        bounds all of it.  A stream counts as one of ``max_connections`` until its last byte is read or it is closed.
        """
        return self._stream(*self._encode(method, url, **options))

    @asynccontextmanager
    async def _stream(self, encoded: Encoded, follow: bool) -> AsyncIterator[AsyncStreamResponse]:
        response: AsyncStreamResponse | None = None

        async def send(step: Encoded) -> AsyncStreamResponse:
            nonlocal response
            if response is not None:
                response._end()
            port = self._port()
            number, feeder = self._submit(port, step, True)
            response = cast(AsyncStreamResponse, await outcome_of(port, number, feeder))
            response._attach(self, port, feeder)
            return response

        try:
            yield await self._drive(exchange(self, encoded, retry=None, follow=follow), send)
        finally:
            if response is not None:
                response._end()

    async def download(
        self, url: str, path: str | os.PathLike[str], *, method: str = "GET", **options: Unpack[RequestOptions]
    ) -> Download:
        """Write the body of an answer to a file, in the core; see :meth:`offgil.Client.download`."""
        encoded, follow = self._encode(method, url, **options)
        with PartialFile(path) as file:
            return file.keep(await self._call(encoded, follow, partial(self._send, save_to=file.descriptor)))

    async def get(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a GET request; options as for :meth:`request`."""
        return await self.request("GET", url, **options)

    async def head(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a HEAD request; options as for :meth:`request`."""
        return await self.request("HEAD", url, **options)

    async def options(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send an OPTIONS request; options as for :meth:`request`."""
        return await self.request("OPTIONS", url, **options)

    async def delete(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a DELETE request; options as for :meth:`request`."""
        return await self.request("DELETE", url, **options)

    async def post(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a POST request; options as for :meth:`request`."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a PUT request; options as for :meth:`request`."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a PATCH request; options as for :meth:`request`."""
        return await self.request("PATCH", url, **options)

    def map(
        self,
        requests: Iterable[Request | str] | AsyncIterable[Request | str],
        *,
        concurrency: int = 64,
        ordered: bool = True,
    ) -> AsyncIterator[Outcome]:
        """Send many requests, up to ``concurrency`` at once, and yield an answer or an error for each.

        Arguments, outcomes and errors as for :meth:`offgil.Client.map`; ``requests`` may be an asynchronous iterable,
        which may take its time: answers come meanwhile.  Requests run on while the consumer does something else, but
        none is started.  No task is made for a request, so this is cheaper than :func:`asyncio.gather`.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency={concurrency}: must be at least 1")
        return map_requests(self, requests, concurrency, ordered)

    async def aclose(self) -> None:
        """End what runs, in every event loop, with :class:`Closed`, and refuse further use.  Idempotent."""
        loop = _running_loop()
        # Not here: libcurl may have to wait for a name look-up that hangs.
        await loop.run_in_executor(None, self._core.close)
        self._ports.leave(loop)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def _port(self) -> Port:
        loop = _running_loop()
        port = self._ports.get(loop)
        return port if port is not None else self._open_port(loop)

    def _open_port(self, loop: asyncio.AbstractEventLoop) -> Port:
        # Loops in other threads may do the same.
        ports: Ports = self.__dict__.setdefault("_ports", Ports())
        return ports.open(self, self._core, loop, lambda: AsyncioPort(self._core, AsyncStreamResponse, loop))


def _running_loop() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise NoEventLoop(
            "AsyncClient needs a running asyncio event loop; without one use offgil.Client, and under trio call it "
            "with trio.to_thread.run_sync"
        ) from None
