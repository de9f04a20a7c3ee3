"""Many requests at once in an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from offgil.async_port import Port
from offgil.errors import Closed, InvalidURL, RequestError
from offgil.map import Outcome
from offgil.request import Request

if TYPE_CHECKING:
    from offgil.async_client import AsyncClient

__all__ = ["map_requests"]

Item = Request | str
Cell = list[Outcome]

# As BaseClient._encode takes them.
_arguments = attrgetter("method", "url", "params", "headers", "json", "content", "timeout", "deadline", "cancel")


async def map_requests(
    client: AsyncClient, requests: Iterable[Item] | AsyncIterable[Item], concurrency: int, ordered: bool
) -> AsyncIterator[Outcome]:
    """The generator behind :meth:`AsyncClient.map`."""
    news = asyncio.Event()
    group = _Group(client, news)
    source: _Source | _AsyncSource
    source = _AsyncSource(requests, news) if isinstance(requests, AsyncIterable) else _Source(requests)
    waiting: deque[Cell] = deque()  # one cell a request, oldest first
    most_waiting = 2 * concurrency
    try:
        while not (source.exhausted and not group.in_flight and not group.settled):
            news.clear()
            while group.in_flight < concurrency and len(waiting) < most_waiting:
                item = source.take()
                if item is None:
                    break
                cell = group.add(Request("GET", item) if isinstance(item, str) else item)
                if ordered:
                    waiting.append(cell)
                elif cell:
                    yield cell[0]
            if not group.settled and (group.in_flight or source.waits):
                await news.wait()
            for cell in group.take():
                if not ordered:
                    yield cell[0]
            while waiting and waiting[0]:
                yield waiting.popleft()[0]
    finally:
        source.close()
        group.close()


class _Group:
    """Requests in flight together; ``news`` is set when any of them is over."""

    def __init__(self, client: AsyncClient, news: asyncio.Event) -> None:
        self._client = client
        self._port: Port = client._port()
        self._news = news
        self._pending: dict[int, tuple[Cell, Request]] = {}
        self.settled: list[Cell] = []

    @property
    def in_flight(self) -> int:
        return len(self._pending)

    def add(self, request: Request) -> Cell:
        """Start a request and return where its outcome will be, or is already if it cannot be sent."""
        cell: Cell = []
        try:
            number = self._port.submit(self._client._encode(*_arguments(request)), self)
            self._pending[number] = (cell, request)
        except (RequestError, InvalidURL) as error:
            error.request = request
            # Its traceback would keep this frame, and so the group, alive for as long as the error.
            cell.append(error.with_traceback(None))
        return cell

    def settle(self, number: int, outcome: Any) -> None:
        cell, request = self._pending.pop(number)
        if isinstance(outcome, Exception):
            outcome.request = request  # type: ignore[attr-defined]  # Closed is raised without it
        else:
            outcome._request = request
        cell.append(outcome)
        self.settled.append(cell)
        self._news.set()

    def take(self) -> list[Cell]:
        """Return the cells that were filled since the last time.

        Raises:
            Closed: the client was closed.
        """
        settled, self.settled = self.settled, []
        for cell in settled:
            if isinstance(cell[0], Closed):
                raise cell[0]
        return settled

    def close(self) -> None:
        for number in self._pending:
            self._port.cancel(number)
        self._pending.clear()


class _Source:
    """Requests from an ordinary iterable."""

    waits = False

    def __init__(self, items: Iterable[Item]) -> None:
        self._items: Iterator[Item] = iter(items)
        self.exhausted = False

    def take(self) -> Item | None:
        """Return the next request, or ``None`` if there is none."""
        item = None if self.exhausted else next(self._items, None)
        self.exhausted = item is None
        return item

    def close(self) -> None:
        pass


class _AsyncSource:
    """Requests from an asynchronous iterable, which is asked for one at a time; ``news`` is set when it has one."""

    def __init__(self, items: AsyncIterable[Item], news: asyncio.Event) -> None:
        self._items = aiter(items)
        self._news = news
        self._next: asyncio.Task[Item | None] | None = None
        self.exhausted = False

    @property
    def waits(self) -> bool:
        return self._next is not None

    def take(self) -> Item | None:
        """Return the next request, or ``None`` if there is none yet, or none any more.

        Raises whatever the iterable raised.
        """
        if self.exhausted:
            return None
        if self._next is None:
            self._next = asyncio.create_task(self._ask())
            return None
        if not self._next.done():
            return None
        task, self._next = self._next, None
        item = task.result()
        self.exhausted = item is None
        return item

    async def _ask(self) -> Item | None:
        try:
            return await anext(self._items, None)
        finally:
            self._news.set()

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
