"""Where an event loop meets the engine's thread."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

from offgil import _core
from offgil.errors import Closed

__all__ = ["AsyncioPort", "Port", "Ports"]


class Target(Protocol):
    """What outcomes go to."""

    def settle(self, number: int, outcome: Any, /) -> None: ...


class Event(Protocol):
    """What asyncio's and trio's events have in common."""

    def set(self) -> None: ...

    async def wait(self) -> Any: ...


class Port(ABC):
    """What one event loop has under way with one client; a subclass for each kind of loop.

    The engine makes a descriptor readable when something came of it, and all that came is handed out in one go.

    Thread-safety: compatible; belongs to the thread of its loop.
    """

    def __init__(self, core: _core.Client, stream_type: type[_core.AsyncStream]) -> None:
        self._mailbox = _core.Mailbox(core, stream_type)
        self._waiting: dict[int, Any] = {}  # futures of the loop's kind, or targets

        #: Start a request and return its number; see :class:`_core.Mailbox`, as for the others.
        self.submit = self._mailbox.submit
        #: Start a pause, whose outcome is ``None``.
        self.pause = self._mailbox.pause
        #: Make the engine look at what the body of a request was given.
        self.nudge = self._mailbox.nudge

    def expect(self, number: int, target: Target | None) -> None:
        """Let ``target`` have the next outcome of what has that number, or nobody."""
        if target is None:
            self._waiting.pop(number, None)
        else:
            self._waiting[number] = target

    @abstractmethod
    def new_event(self) -> Event:
        """Return an event of the loop's kind, to wait for once."""

    @abstractmethod
    async def outcome_of(self, number: int) -> Any:
        """Return or raise the next outcome of what has that number; cancelling the task ends it for good."""

    def cancel(self, number: int) -> None:
        """End what has that number, without an outcome."""
        self._waiting.pop(number, None)
        self._mailbox.cancel(number)

    @property
    @abstractmethod
    def gone(self) -> bool:
        """Whether the loop was closed."""

    def abandon(self) -> None:
        """End all that is under way in a loop that is gone."""
        self._mailbox.abandon()
        self._waiting.clear()

    @abstractmethod
    def leave(self) -> None:
        """Leave the loop, once the engine is done."""

    @abstractmethod
    def leave_soon(self) -> None:
        """The same, from another thread."""

    @abstractmethod
    def settle(self, number: int, outcome: Any) -> None:
        """Hand an outcome to who waits for it, if anybody does."""

    def _hand_out(self) -> None:
        for number, outcome in self._mailbox.take():
            self.settle(number, outcome)


class AsyncioPort(Port):
    """The port of an asyncio event loop."""

    def __init__(
        self, core: _core.Client, stream_type: type[_core.AsyncStream], loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(core, stream_type)
        self.loop = loop
        loop.add_reader(self._mailbox.fileno(), self._hand_out)

    async def outcome_of(self, number: int) -> Any:
        future = self._waiting[number] = self.loop.create_future()
        try:
            outcome = await future
        except BaseException:  # GeneratorExit too: the loop was closed
            self.cancel(number)
            raise
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def settle(self, number: int, outcome: Any) -> None:
        target = self._waiting.pop(number, None)
        if isinstance(target, asyncio.Future):
            if not target.done():  # cancelled, and its task has not heard of it yet
                target.set_result(outcome)
        elif target is not None:
            target.settle(number, outcome)

    def new_event(self) -> Event:
        return asyncio.Event()

    @property
    def gone(self) -> bool:
        return self.loop.is_closed()

    def leave(self) -> None:
        self._hand_out()
        self.loop.remove_reader(self._mailbox.fileno())

    def leave_soon(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self.leave)


class Ports(dict[object, Port]):
    """The ports of one client, by event loop.

    Thread-safety: safe on shared objects, for each step is atomic and a loop touches its own port only.
    """

    def open(self, owner: object, core: _core.Client, loop: object, make: Callable[[], Port]) -> Port:
        """Return a new port for ``loop``, made by ``make``.

        Args:
            owner: whose end, or the program's, closes ``core``.
            core: of the client.
            loop: the key.
            make: makes a port.

        Raises:
            Closed: the client is closed.
        """
        if core.closed:
            raise Closed("the client is closed; make a new one")
        if not self:
            # Also at exit: the thread ends before the interpreter does.
            weakref.finalize(owner, core.close)
        port = self[loop] = make()
        for other, left in self.copy().items():
            if left.gone and self.pop(other, left) is left:
                left.abandon()
        return port

    def leave(self, loop: object) -> None:
        """Leave all loops, from ``loop``."""
        while self:
            with contextlib.suppress(KeyError):  # another thread does the same
                other, port = self.popitem()
                if other is loop:
                    port.leave()
                else:
                    port.leave_soon()
