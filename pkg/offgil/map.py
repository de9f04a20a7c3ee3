"""Many requests at once, driven on the calling thread."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

from offgil import _core
from offgil.client_base import BaseClient
from offgil.errors import InvalidURL, RequestError
from offgil.exchange import Exchange, advance, exchange
from offgil.request import Request
from offgil.response import Response

__all__ = ["Batch", "Outcome", "map_requests"]

#: How long a cancelled token may go unnoticed between two attempts, in seconds.
_TOKEN_SLICE = 0.05

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


@dataclass(slots=True)
class _Pending:
    tag: Any
    request: Request
    steps: Exchange[Response] | None = None  # none where the core's answer is the outcome


class Batch:
    """Requests in flight together, driven by the thread that calls :meth:`wait`.

    Args:
        client: whose connections' settings, defaults, retries, redirects and hooks apply.
        connections: connections kept open between requests.

    Thread-safety: compatible; a second thread that calls in at the same time gets a :class:`RuntimeError`.
    """

    def __init__(self, client: BaseClient, connections: int) -> None:
        self._client = client
        self._core = _core.Batch(client._core, connections)
        self._pending: dict[int, _Pending] = {}
        self._paused: dict[int, float] = {}  # when to go on, monotonic
        # What the core has handed over and wait() has not: a hook that raises in between loses nothing.
        self._arrived: deque[tuple[int, Any]] = deque()
        self._completed: list[tuple[Any, Outcome]] = []
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
        encoded, follow = self._client._encode_request(request)
        retry = self._client._retry
        pending = _Pending(tag, request)
        if self._client._is_plain(retry, follow):
            self._core.add(*encoded, self._next_id)
        else:
            pending.steps = exchange(self._client, encoded, retry=retry, follow=follow)
            if (outcome := self._advance(self._next_id, pending.steps, None)) is not None:
                raise cast(RequestError | InvalidURL, outcome)
        self._pending[self._next_id] = pending
        self._next_id += 1

    def wait(self, timeout: float | None = None) -> list[tuple[Any, Outcome]]:
        """Drive everything in flight until something completes; return ``(tag, outcome)`` for all that did.

        Args:
            timeout: seconds after which an empty list is returned; ``None`` for no limit.

        Raises:
            Closed: the client was closed.
        """
        if not self._pending and timeout is None:
            return []
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self._arrived.extend(self._core.wait(self._patience(end)))
            while self._arrived:
                self._handle(*self._arrived.popleft())
            for number in self._due():
                del self._paused[number]
                self._handle(number, None)
            if self._completed or (end is not None and time.monotonic() >= end):
                completed, self._completed = self._completed, []
                return completed

    def _patience(self, end: float | None) -> float | None:
        """Seconds that the core may wait for answers."""
        if self._arrived or self._completed:
            return 0
        ends = [] if end is None else [end]
        if self._paused:
            ends += self._paused.values()
            # The core knows nothing of a pause, so a cancelled token does not end its wait.
            if any(self._pending[number].request.cancel for number in self._paused):
                ends.append(time.monotonic() + _TOKEN_SLICE)
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _due(self) -> list[int]:
        """The pauses to end: that are over, or cancelled."""
        if not self._paused:
            return []
        now = time.monotonic()
        tokens = ((number, self._pending[number].request.cancel) for number in self._paused)
        return [number for number, token in tokens if self._paused[number] <= now or (token and token.cancelled)]

    def _handle(self, number: int, outcome: Outcome | None) -> None:
        """Take what became of a request, or with ``None`` go on after its pause."""
        pending = self._pending[number]
        if pending.steps is not None:
            try:
                outcome = self._advance(number, pending.steps, outcome)
            except BaseException:
                del self._pending[number]
                raise
        if outcome is None:
            return
        del self._pending[number]
        if isinstance(outcome, Exception):
            outcome.request = pending.request
        else:
            outcome._request = pending.request
        self._completed.append((pending.tag, outcome))

    def _advance(self, number: int, steps: Exchange[Response], outcome: Outcome | None) -> Outcome | None:
        """Go on with an exchange as far as it goes; return how it ended, if it did."""
        try:
            pause = advance(steps, outcome, lambda step: self._core.add(*step, number))
            if pause is not None:
                self._paused[number] = time.monotonic() + pause
        except StopIteration as end:
            return cast(Response, end.value)
        except (RequestError, InvalidURL) as error:
            # Its traceback would keep these frames, and so the batch, alive for as long as the error.
            return error.with_traceback(None)
        return None

    def close(self) -> None:
        """Drop what is in flight and end the connections.  Idempotent."""
        self._core.close()
        for pending in self._pending.values():
            if pending.steps is not None:
                pending.steps.close()
        self._pending.clear()
        self._paused.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
