"""A request's body that an asynchronous iterable yields."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from typing import Any

from offgil import _core
from offgil.async_port import Event, Port
from offgil.content import Piece
from offgil.errors import LocalProtocolError

__all__ = ["Feeder", "outcome_of"]


def outcome_of(port: Port, number: int, feeder: Feeder | None) -> Awaitable[Any]:
    """What returns or raises the next outcome of a request, whose body ``feeder`` feeds meanwhile, if there is one."""
    return port.outcome_of(number) if feeder is None else feeder.outcome_of(port, number)


class Feeder:
    """Advances an iterable as fast as a server takes what it yields, in the task that waits for the answer.

    Args:
        pieces: yields bytes, or what has them.
        size: how many that must be; ``None`` for any number.

    Thread-safety: compatible; belongs to one task at a time.
    """

    def __init__(self, pieces: AsyncIterable[Piece], size: int | None) -> None:
        #: What the core gets for a body.
        self.body = _core.FedBody(size)
        self._pieces = pieces
        self._iterator: AsyncIterator[Piece] | None = None
        self._left = size
        self._outcome: Any = None
        self._news: Event | None = None  # made when there is nothing else to wait for

    @property
    def wanted(self) -> bool:
        """Whether the transfer stands still until :meth:`feed` is called."""
        return self.body.asks

    async def feed(self) -> None:
        """Bring the next piece, or say that there is none.

        Raises:
            LocalProtocolError: there is more than ``size``.
            TypeError: a piece is nothing that has bytes.
            Exception: whatever the iterable raises.
        """
        piece = await self._next()
        if piece and self._left is not None:
            self._left -= len(piece)
            # The core does not ask for what follows the last byte that was announced.
            if self._left < 0 or (self._left == 0 and await self._next()):
                raise LocalProtocolError("the request's body is longer than its Content-Length")
        if piece:
            self.body.give(piece)
        else:
            self.body.finish()

    async def outcome_of(self, port: Port, number: int) -> Any:
        """Feed the request of that number until its answer, or its error, is there."""
        port.expect(number, self)
        self._port = port
        try:
            while self._outcome is None:
                if self.wanted:
                    await self.feed()
                    port.nudge()
                else:
                    self._news = port.new_event()
                    await self._news.wait()
        finally:
            port.expect(number, None)
            if self._outcome is None:
                port.cancel(number)
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def settle(self, number: int, outcome: Any, /) -> None:
        """Take note of an outcome; an answer may come together with the wish for more of the body."""
        self._port.expect(number, self)
        if outcome is not None:
            self._outcome = outcome
        if self._news is not None:
            self._news.set()

    async def _next(self) -> bytes:
        """The next piece that is not empty; an empty one at the end."""
        if self._iterator is None:
            self._iterator = aiter(self._pieces)
        async for piece in self._iterator:
            if not isinstance(piece, bytes | bytearray | memoryview):
                raise TypeError(
                    "an asynchronous iterable body must yield bytes, bytearray or memoryview, not "
                    f"{type(piece).__name__}"
                )
            if piece:
                return bytes(piece)
        return b""
