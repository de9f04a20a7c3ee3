"""Answers whose body is read as it comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from offgil import _core
from offgil.errors import RequestError, StreamConsumed
from offgil.headers import Headers
from offgil.lines import LineDecoder
from offgil.response import charset_of, status_error
from offgil.sse import EventParser, ServerSentEvent

__all__ = ["StreamResponse"]

# The iterators below are classes, not generators: a generator that two threads advance at once, which is a mistake but
# must not crash, is not safe in CPython 3.13 without the GIL.


class StreamHead:
    """What a stream knows before its body; the native core has the rest of it."""

    _headers: Headers | None = None
    _history: tuple[Self, ...] = ()

    if TYPE_CHECKING:

        @property
        def status_code(self) -> int: ...

        @property
        def raw_headers(self) -> list[tuple[bytes, bytes]]: ...

    @property
    def history(self) -> tuple[Self, ...]:
        """The answers that redirected to this one, oldest first; they are closed."""
        return self._history

    @property
    def headers(self) -> Headers:
        """The header fields: a case-insensitive mapping that keeps repeated ones."""
        if self._headers is None:
            self._headers = Headers(self.raw_headers)
        return self._headers

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code <= 299


class StreamResponse(_core.Stream, StreamHead):
    """An answer whose head is there and whose body is still to be read; made by :meth:`Client.stream`.

    The body arrives while it is iterated over, on the calling thread and with the interpreter released.  Who does not
    ask for more receives no more: the server has to wait.  Leaving the ``with`` block early ends the connection, and a
    body that was read to its end leaves it for the next request.

    Attributes inherited from the native core: ``status_code``, ``reason_phrase``, ``http_version`` and ``url``.

    Thread-safety: compatible; a second thread that calls in at the same time gets a :class:`RuntimeError`.
    """

    _iterated = False
    _rest: bytes | None = None

    def raise_for_status(self) -> Self:
        """Return this response if its status is below 400; read its body to the end if not.

        Raises:
            HTTPStatusError: the status is 4xx or 5xx; it carries this response, whose :meth:`read` returns the body.
            RequestError, StreamClosed: as from :meth:`read`.
        """
        if self.status_code < 400:
            return self
        body = self.read().decode(charset_of(self.headers), errors="replace")
        raise status_error(self, body, "the body is in .response.read()")

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Iterate over the decoded body.

        Args:
            chunk_size: bytes in each piece but the last; by default pieces come as large as they arrive.

        Raises:
            ValueError: ``chunk_size`` is below 1.
            StreamConsumed: the body has been read or iterated over.

        The iterator raises:
            RequestError: the body broke off; what came before was yielded.
            StreamClosed: this response was closed.
            Closed: the client was closed.
        """
        if chunk_size is None:
            return self._pieces()
        if chunk_size < 1:
            raise ValueError(f"chunk_size={chunk_size}: must be at least 1")
        return _Chunks(self._pieces(), chunk_size)

    def iter_lines(self) -> Iterator[str]:
        """Iterate over the lines of the body, without their ends (LF, CR or CRLF); raises as :meth:`iter_bytes`.

        Decoded in the charset of Content-Type, else UTF-8; undecodable bytes become U+FFFD.  A line comes as soon as
        its end is there.
        """
        return _Parsed(self._pieces(), LineDecoder(charset_of(self.headers)))

    def iter_sse(self) -> Iterator[ServerSentEvent]:
        """Iterate over the server-sent events of the body; raises as :meth:`iter_bytes`.

        An event comes as soon as its blank line is there; one that the stream's end cuts off never does.
        """
        return _Parsed(self._pieces(), EventParser())

    def read(self) -> bytes:
        """Return what has not been iterated over, as one object, and the same again from then on.

        Raises:
            RequestError: the body broke off.
            StreamClosed: this response was closed.
            Closed: the client was closed.
        """
        if self._rest is None:
            self._iterated = True
            self._rest = b"".join(_Pieces(self))
        return self._rest

    def _pieces(self) -> Iterator[bytes]:
        if self._iterated:
            raise StreamConsumed(f"{self.url}: the body can be read once; keep what you need of it")
        self._iterated = True
        return _Pieces(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<StreamResponse [{self.status_code} {self.reason_phrase}]>"


class _Pieces(Iterator[bytes]):
    def __init__(self, stream: _core.Stream) -> None:
        self._stream = stream

    def __next__(self) -> bytes:
        piece = self._stream.next()
        if piece is None:
            raise StopIteration
        return piece


class _Chunks(Iterator[bytes]):
    def __init__(self, pieces: Iterator[bytes], size: int) -> None:
        self._pieces = pieces
        self._size = size
        self._buffer = bytearray()

    def __next__(self) -> bytes:
        try:
            while len(self._buffer) < self._size:
                self._buffer += next(self._pieces)
        except (StopIteration, RequestError):
            # The core says it again when it is asked again, once what came before is out.
            if not self._buffer:
                raise
        chunk = bytes(self._buffer[: self._size])
        del self._buffer[: self._size]
        return chunk


T = TypeVar("T")


class Parser(Protocol[T]):
    def feed(self, data: bytes, /) -> list[T]: ...

    def finish(self) -> list[T]: ...


class _Parsed(Iterator[T], Generic[T]):
    def __init__(self, pieces: Iterator[bytes], parser: Parser[T]) -> None:
        self._pieces = pieces
        self._parser = parser
        self._ready: deque[T] = deque()

    def __next__(self) -> T:
        while True:
            try:
                return self._ready.popleft()
            except IndexError:
                pass
            piece = next(self._pieces, None)
            parsed = self._parser.finish() if piece is None else self._parser.feed(piece)
            if piece is None and not parsed:
                raise StopIteration
            self._ready.extend(parsed)
