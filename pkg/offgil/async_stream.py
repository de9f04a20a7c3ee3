"""Answers whose body is read as it comes, in an event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, Self, TypeVar

from offgil import _core
from offgil.async_port import Port
from offgil.async_upload import Feeder
from offgil.errors import RequestError, StreamConsumed
from offgil.lines import LineDecoder
from offgil.response import charset_of, status_error
from offgil.sse import EventParser, ServerSentEvent
from offgil.stream import Parser, StreamHead

__all__ = ["AsyncStreamResponse"]


class AsyncStreamResponse(_core.AsyncStream, StreamHead):
    """An answer whose head is there and whose body is still to be read; made by :meth:`AsyncClient.stream`.

    The body arrives by itself, some 256 KiB ahead of the reader at most; then the server has to wait.  Leaving the
    ``async with`` block early, or cancelling a task that waits for more, ends the connection; a body that was read to
    its end leaves it for the next request.

    Attributes inherited from the native core: ``status_code``, ``reason_phrase``, ``http_version`` and ``url``.

    Thread-safety: compatible; belongs to the event loop that opened it, and to one task at a time.
    """

    _client: object  # which would end its engine if nobody held it
    _port: Port
    _feeder: Feeder | None = None  # of the request's body, while that is not over
    _iterated = False
    _reading = False
    _rest: bytes | None = None

    def _attach(self, client: object, port: Port, feeder: Feeder | None) -> None:
        self._client = client
        self._port = port
        self._feeder = feeder

    async def raise_for_status(self) -> Self:
        """Return this response if its status is below 400; read its body to the end if not.

        Raises:
            HTTPStatusError: the status is 4xx or 5xx; it carries this response, whose :meth:`aread` returns the body.
            RequestError, StreamClosed: as from :meth:`aread`.
        """
        if self.status_code < 400:
            return self
        body = (await self.aread()).decode(charset_of(self.headers), errors="replace")
        raise status_error(self, body, "the body is in await .response.aread()")

    def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Iterate over the decoded body.

        Args:
            chunk_size: bytes in each piece but the last; by default pieces come as large as they arrive.

        Raises:
            ValueError: ``chunk_size`` is below 1.
            StreamConsumed: the body has been read or iterated over.

        The iterator raises:
            RequestError: the body broke off; what came before was yielded.
            StreamClosed: this response was closed, or a task that read it was cancelled.
            Closed: the client was closed.
        """
        if chunk_size is None:
            return self._pieces()
        if chunk_size < 1:
            raise ValueError(f"chunk_size={chunk_size}: must be at least 1")
        return _Chunks(self._pieces(), chunk_size)

    def aiter_lines(self) -> AsyncIterator[str]:
        """Iterate over the lines of the body, as :meth:`StreamResponse.iter_lines`; raises as :meth:`aiter_bytes`."""
        return _Parsed(self._pieces(), LineDecoder(charset_of(self.headers)))

    def aiter_sse(self) -> AsyncIterator[ServerSentEvent]:
        """Iterate over the server-sent events of the body; raises as :meth:`aiter_bytes`.

        An event comes as soon as its blank line is there; one that the stream's end cuts off never does.
        """
        return _Parsed(self._pieces(), EventParser())

    async def aread(self) -> bytes:
        """Return what has not been iterated over, as one object, and the same again from then on; raises as above."""
        if self._rest is None:
            self._iterated = True
            self._rest = b"".join([piece async for piece in _Pieces(self)])
        return self._rest

    async def aclose(self) -> None:
        """Drop what is unread; ends a connection in the middle of an answer.  Idempotent."""
        self._end()

    def _end(self) -> None:
        self.close()
        self._port.settle(self.number, None)  # a task that waits for more finds out

    async def _next(self) -> bytes | None:
        """Return the next bytes, ``None`` at the end; feed the request's body, if it is not over yet."""
        feeder = self._feeder
        while True:
            piece = self.next()
            if piece != b"":
                return piece
            if feeder is not None and feeder.wanted:
                await feeder.feed()
                self._port.nudge()
                continue
            if self._reading:
                raise RuntimeError("a stream belongs to one task at a time")
            self._reading = True
            try:
                await self._port.outcome_of(self.number)
            except BaseException:
                self._end()
                raise
            finally:
                self._reading = False

    def _pieces(self) -> AsyncIterator[bytes]:
        if self._iterated:
            raise StreamConsumed(f"{self.url}: the body can be read once; keep what you need of it")
        self._iterated = True
        return _Pieces(self)

    def __repr__(self) -> str:
        return f"<AsyncStreamResponse [{self.status_code} {self.reason_phrase}]>"


class _Pieces(AsyncIterator[bytes]):
    def __init__(self, stream: AsyncStreamResponse) -> None:
        self._stream = stream

    async def __anext__(self) -> bytes:
        piece = await self._stream._next()
        if piece is None:
            raise StopAsyncIteration
        return piece


class _Chunks(AsyncIterator[bytes]):
    def __init__(self, pieces: AsyncIterator[bytes], size: int) -> None:
        self._pieces = pieces
        self._size = size
        self._buffer = bytearray()

    async def __anext__(self) -> bytes:
        try:
            while len(self._buffer) < self._size:
                self._buffer += await anext(self._pieces)
        except (StopAsyncIteration, RequestError):
            # The core says it again when it is asked again, once what came before is out.
            if not self._buffer:
                raise
        chunk = bytes(self._buffer[: self._size])
        del self._buffer[: self._size]
        return chunk


T = TypeVar("T")


class _Parsed(AsyncIterator[T], Generic[T]):
    def __init__(self, pieces: AsyncIterator[bytes], parser: Parser[T]) -> None:
        self._pieces = pieces
        self._parser = parser
        self._ready: deque[T] = deque()

    async def __anext__(self) -> T:
        while not self._ready:
            piece = await anext(self._pieces, None)
            parsed = self._parser.finish() if piece is None else self._parser.feed(piece)
            if piece is None and not parsed:
                raise StopAsyncIteration
            self._ready.extend(parsed)
        return self._ready.popleft()
