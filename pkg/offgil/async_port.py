"""Where an event loop meets the engine's thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from offgil import _core
from offgil.request import Encoded

__all__ = ["Port"]


class Target(Protocol):
    """What the outcome of a submission goes to, besides a future."""

    def settle(self, number: int, outcome: Any) -> None: ...


class Port:
    """What one event loop has under way with one client.

    The engine makes a descriptor readable when something came of it, and everything that came is handed out in one go.

    Thread-safety: compatible; belongs to its loop's thread.
    """

    def __init__(self, core: _core.Client, loop: asyncio.AbstractEventLoop, stream_type: type[_core.AsyncStream]) -> None:
        self.loop = loop
        self._mailbox = _core.Mailbox(core, stream_type)
        self._waiting: dict[int, asyncio.Future[Any] | Target] = {}
        loop.add_reader(self._mailbox.fileno(), self._hand_out)

    def submit(self, encoded: Encoded, target: Target) -> int:
        """Start a request whose outcome goes to ``target``; return its number."""
        number = self._mailbox.submit(*encoded, False)
        self._waiting[number] = target
        return number

    async def run(self, encoded: Encoded, pieces: bool) -> Any:
        """Run a request to its end, or to its head, and return the answer or raise the error.

        Cancelling the task ends the request.
        """
        return await self.outcome_of(self._mailbox.submit(*encoded, pieces))

    async def pause(self, seconds: float, cancel: _core.CancelToken | None) -> None:
        """Sleep; the client's end and the token end it with their error."""
        await self.outcome_of(self._mailbox.pause(seconds, cancel))

    async def outcome_of(self, number: int) -> Any:
        """Wait for the next outcome of what has that number; a cancelled wait ends it for good."""
        future = self._waiting[number] = self.loop.create_future()
        try:
            outcome = await future
        except BaseException:
            self.cancel(number)
            raise
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def cancel(self, number: int) -> None:
        """End what has that number, without an outcome."""
        self._waiting.pop(number, None)
        self._mailbox.cancel(number)

    def close(self) -> None:
        """Let go of the loop, once nothing will come any more."""
        self._hand_out()
        self.loop.remove_reader(self._mailbox.fileno())

    def _hand_out(self) -> None:
        for number, outcome in self._mailbox.take():
            target = self._waiting.pop(number, None)
            if isinstance(target, asyncio.Future):
                if not target.done():  # cancelled, and its task not yet told
                    target.set_result(outcome)
            elif target is not None:
                target.settle(number, outcome)
