"""Where an event loop meets the engine's thread."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from offgil import _core

__all__ = ["Port"]


class Target(Protocol):
    """What outcomes go to, besides futures."""

    def settle(self, number: int, outcome: Any, /) -> None: ...


class Port:
    """What one event loop has under way with one client.

    The engine makes a descriptor readable when something came of it, and all that came is handed out in one go.

    Thread-safety: compatible; belongs to the thread of its loop.
    """

    def __init__(
        self, core: _core.Client, loop: asyncio.AbstractEventLoop, stream_type: type[_core.AsyncStream]
    ) -> None:
        self.loop = loop
        self._mailbox = _core.Mailbox(core, stream_type)
        self._waiting: dict[int, asyncio.Future[Any] | Target] = {}
        loop.add_reader(self._mailbox.fileno(), self._hand_out)

        #: Start a request and return its number; see :class:`_core.Mailbox`, as for the others.
        self.submit = self._mailbox.submit
        #: Start a pause, whose outcome is ``None``.
        self.pause = self._mailbox.pause

    def expect(self, number: int, target: Target) -> None:
        """Let ``target`` have the next outcome of what has that number."""
        self._waiting[number] = target

    async def outcome_of(self, number: int) -> Any:
        """Return or raise the next outcome of what has that number; cancelling the task ends it for good."""
        future = self._waiting[number] = self.loop.create_future()
        try:
            outcome = await future
        except BaseException:  # GeneratorExit too: the loop was closed
            self.cancel(number)
            raise
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def cancel(self, number: int) -> None:
        """End what has that number, without an outcome."""
        self._waiting.pop(number, None)
        self._mailbox.cancel(number)

    def abandon(self) -> None:
        """End all that is under way in a loop that was closed."""
        self._mailbox.abandon()
        self._waiting.clear()

    def close(self) -> None:
        """Leave the loop, once the engine is done."""
        self._hand_out()
        self.loop.remove_reader(self._mailbox.fileno())

    def settle(self, number: int, outcome: Any) -> None:
        """Hand an outcome to who waits for it, if anybody does."""
        target = self._waiting.pop(number, None)
        if isinstance(target, asyncio.Future):
            if not target.done():  # cancelled, and its task has not heard of it yet
                target.set_result(outcome)
        elif target is not None:
            target.settle(number, outcome)

    def _hand_out(self) -> None:
        for number, outcome in self._mailbox.take():
            self.settle(number, outcome)
