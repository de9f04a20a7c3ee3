"""Many requests at once in an event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from offgil.async_port import Port
from offgil.errors import Closed, InvalidURL, RequestError
from offgil.exchange import Exchange, advance, exchange
from offgil.map import Outcome
from offgil.request import Request
from offgil.response import Response

if TYPE_CHECKING:
    from offgil.async_client import AsyncClient

__all__ = ["map_requests"]

Item = Request | str
Cell = list[Outcome]


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
        while not (source.exhausted and group.idle):
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
            if not group.ready and (group.in_flight or source.waits):
                await news.wait()
            for cell in group.take():
                if not ordered:
                    yield cell[0]
            while waiting and waiting[0]:
                yield waiting.popleft()[0]
    finally:
        source.close()
        group.close()


@dataclass(slots=True)
class _Pending:
    cell: Cell
    request: Request
    steps: Exchange[Response] | None = None  # none where the engine's answer is the outcome


class _Group:
    """Requests in flight together; ``news`` is set when any of them is over."""

    def __init__(self, client: AsyncClient, news: asyncio.Event) -> None:
        self._client = client
        self._port: Port = client._port()
        self._news = news
        self._pending: dict[int, _Pending] = {}
        self._failure: BaseException | None = None  # of a hook
        self.settled: list[Cell] = []

    @property
    def in_flight(self) -> int:
        return len(self._pending)

    @property
    def ready(self) -> bool:
        """Whether take() has something to return or to raise."""
        return bool(self.settled) or self._failure is not None

    @property
    def idle(self) -> bool:
        return not self._pending and not self.ready

    def add(self, request: Request) -> Cell:
        """Start a request and return where its outcome will be, or is already if it cannot be sent."""
        pending = _Pending([], request)
        client = self._client
        try:
            encoded, follow = client._encode_request(request)
            if client._is_plain(client._retry, follow):
                self._expect(self._port.submit(*encoded, False), pending)
            else:
                pending.steps = exchange(client, encoded, retry=client._retry, follow=follow)
                self._advance(pending, pending.steps, None)
        except (RequestError, InvalidURL) as error:
            self._fill(pending, error)
        return pending.cell

    def settle(self, number: int, outcome: Any) -> None:
        """Take what became of a request, or go on after a pause; called by the event loop."""
        pending = self._pending.pop(number)
        try:
            if pending.steps is not None:
                self._advance(pending, pending.steps, outcome)
            else:
                self._fill(pending, outcome)
        except (RequestError, InvalidURL) as error:
            self._fill(pending, error)
        except BaseException as error:
            self._failure = error
        if pending.cell:
            self.settled.append(pending.cell)
        self._news.set()

    def _advance(self, pending: _Pending, steps: Exchange[Response], outcome: Any) -> None:
        """Go on with an exchange as far as it goes."""
        try:
            pause = advance(steps, outcome, lambda step: self._expect(self._port.submit(*step, False), pending))
            if pause is not None:
                self._expect(self._port.pause(pause, pending.request.cancel), pending)
        except StopIteration as end:
            self._fill(pending, end.value)

    def _expect(self, number: int, pending: _Pending) -> None:
        self._pending[number] = pending
        self._port.expect(number, self)

    def _fill(self, pending: _Pending, outcome: Any) -> None:
        if isinstance(outcome, Closed):
            raise outcome
        if isinstance(outcome, Exception):
            # Its traceback would keep these frames, and so the group, alive for as long as the error.
            outcome = cast(RequestError, outcome.with_traceback(None))
            outcome.request = pending.request
        else:
            outcome._request = pending.request
        pending.cell.append(outcome)

    def take(self) -> list[Cell]:
        """Return the cells that were filled since the last time.

        Raises:
            Closed: the client was closed.
            BaseException: what a hook raised.
        """
        if self._failure is not None:
            raise self._failure
        settled, self.settled = self.settled, []
        return settled

    def close(self) -> None:
        for number, pending in self._pending.items():
            self._port.cancel(number)
            if pending.steps is not None:
                pending.steps.close()
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
