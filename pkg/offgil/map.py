"""Many requests at once, driven on the calling thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, cast

from offgil import _core
from offgil.client_base import BaseClient
from offgil.errors import InvalidURL, RequestError
from offgil.request import Request
from offgil.response import Response

__all__ = ["Batch", "Outcome", "map_requests"]

#: What became of one request of many.
Outcome = Response | RequestError | InvalidURL


def map_requests(
    client: BaseClient, requests: Iterator[Request | str], concurrency: int, ordered: bool
) -> Iterator[Outcome]:
    """The generator behind :meth:`Client.map`."""
    with Batch(client, concurrency) as batch:
        waiting: deque[list[Outcome]] = deque()  # one cell a request, oldest first
        most_waiting = 2 * concurrency
        exhausted = False
        while True:
            while not exhausted and batch.in_flight < concurrency and len(waiting) < most_waiting:
                item = next(requests, None)
                if item is None:
                    exhausted = True
                    break
                request = Request("GET", item) if isinstance(item, str) else item
                cell: list[Outcome] = []
                try:
                    batch.add(request, cell)
                except (RequestError, InvalidURL) as error:
                    error.request = request
                    # Its traceback would keep this frame, and so the batch, alive for as long as the error.
                    cell.append(error.with_traceback(None))
                if ordered:
                    waiting.append(cell)
                elif cell:
                    yield cell[0]
            for cell, outcome in batch.wait(None):
                if ordered:
                    cell.append(outcome)
                else:
                    yield outcome
            while waiting and waiting[0]:
                yield waiting.popleft()[0]
            if exhausted and not batch.in_flight:
                return


class Batch:
    """Requests in flight together, driven by the thread that calls :meth:`wait`.

    Args:
        client: whose connections' settings and defaults apply.
        connections: connections kept open between requests.

    Thread-safety: compatible; a second thread that calls in at the same time gets a :class:`RuntimeError`.
    """

    def __init__(self, client: BaseClient, connections: int) -> None:
        self._client = client
        self._core = _core.Batch(client._core, connections)
        self._pending: dict[int, tuple[Any, Request]] = {}
        self._next_id = 0

    @property
    def in_flight(self) -> int:
        """Requests added whose outcome :meth:`wait` has not returned yet."""
        return len(self._pending)

    def add(self, request: Request, tag: Any = None) -> None:
        """Queue ``request``; nothing is sent before :meth:`wait`.

        Raises:
            LocalProtocolError, InvalidURL, UnsupportedProtocol: the request cannot be sent; the batch is as before.
            TypeError: its ``content`` is an iterable, which would hold up the others.
        """
        encoded = self._client._encode(
            request.method,
            request.url,
            request.params,
            request.headers,
            request.json,
            request.content,
            request.timeout,
            request.deadline,
            request.cancel,
        )
        self._core.add(*encoded, self._next_id)
        self._pending[self._next_id] = (tag, request)
        self._next_id += 1

    def wait(self, timeout: float | None = None) -> list[tuple[Any, Response | RequestError]]:
        """Drive everything in flight until something completes; return ``(tag, outcome)`` for all that did.

        Args:
            timeout: seconds after which an empty list is returned; ``None`` for no limit.

        Raises:
            Closed: the client was closed.
        """
        if not self._pending and timeout is None:
            return []
        completed = []
        for number, outcome in self._core.wait(timeout):
            tag, request = self._pending.pop(number)
            outcome = cast(Response | RequestError, outcome)
            if isinstance(outcome, RequestError):
                outcome.request = request
            else:
                outcome._request = request
            completed.append((tag, outcome))
        return completed

    def close(self) -> None:
        """Drop what is in flight and end the connections.  Idempotent."""
        self._core.close()
        self._pending.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
