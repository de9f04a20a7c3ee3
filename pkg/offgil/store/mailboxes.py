"""Messages from any process to the event loops of others, through a managed-dict store.

A *mailbox* is a topic of the store and a bell, an eventfd.  Who sends puts the message and rings; the bell wakes the
mailbox's event loop, which takes what has come by then in one go.  So no thread waits, nothing polls, and a message is
out of its sender's hands once it is put: a process that is killed after that takes none with it.  A process that is
killed between putting and ringing delays its message until the next ring.
"""

from __future__ import annotations

import asyncio
import os
import threading
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from multiprocessing import reduction
from typing import Any, Generic, TypeVar

from offgil.errors import Closed, StoreTimeout
from offgil.store.managed import ManagedDictStore

__all__ = ["Mailbox", "Mailboxes"]

_T = TypeVar("_T")

#: Messages taken in one turn of an event loop, so that what they are for gets its turn.
_BATCH = 256


class Mailboxes:
    """Mailboxes 0, 1, …, and how to send to them.

    Goes to other processes by ``fork`` and as an argument of a :class:`multiprocessing.Process`.

    Args:
        count: number of mailboxes.
        max_bytes: room for messages; who finds none waits for some.
        ttl: seconds after which a message is released that was not fetched.

    Thread-safety: safe on shared objects.
    """

    def __init__(self, count: int, *, max_bytes: int, ttl: float) -> None:
        store = ManagedDictStore(max_bytes=max_bytes, on_full="block")
        self._set_up(store, [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(count)], ttl)

    def _set_up(self, store: ManagedDictStore, bells: list[int], ttl: float) -> None:
        self.store = store
        self.bells = bells
        self._ttl = ttl
        self._lock = threading.Lock()  # guards the next one
        self._sent = 0

    def send(self, number: int, name: str, value: Any) -> None:
        """Put ``(name, value)`` into mailbox ``number``.

        Raises:
            StoreFull: it is larger than the store, or no room was made within the ``ttl``.
            CodecError: it cannot be stored.
            Closed: the mailboxes are closed.
        """
        with self._lock:
            self._sent = serial = self._sent + 1
        key = f"{os.getpid()}.{serial}/{name}"
        self.store.put(key, value, topic=str(number), ttl=self._ttl, timeout=self._ttl)
        os.eventfd_write(self.bells[number], 1)

    def take(self, number: int, most: int) -> list[tuple[str, Any]]:
        """Take up to ``most`` messages, oldest first, without waiting; if there may be more, the bell stays rung.

        Raises:
            Closed: the mailboxes are closed.
        """
        # Before taking, so that who rings from here on is heard.
        with suppress(BlockingIOError):
            os.eventfd_read(self.bells[number])
        taken: list[tuple[str, Any]] = []
        try:
            while len(taken) < most:
                key, value = self.store.take(str(number), 0)
                taken.append((key.partition("/")[2], value))
        except StoreTimeout:
            return taken
        os.eventfd_write(self.bells[number], 1)
        return taken

    def close(self) -> None:
        """Refuse and forget all messages, and tell every mailbox; in the process that made them, for all processes."""
        self.store.close()
        for bell in self.bells:
            os.eventfd_write(bell, 1)

    def __del__(self) -> None:
        for bell in getattr(self, "bells", ()):
            os.close(bell)

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, (self.store, [reduction.DupFd(bell) for bell in self.bells], self._ttl)


def _attach(store: ManagedDictStore, bells: list[Any], ttl: float) -> Mailboxes:
    mailboxes = Mailboxes.__new__(Mailboxes)
    mailboxes._set_up(store, [bell.detach() for bell in bells], ttl)
    return mailboxes


class Mailbox(ABC, Generic[_T]):
    """The end of one mailbox in the event loop that runs where this is made; no other may receive from it.

    Messages go to :meth:`accept` as they come, which may :meth:`deliver` something to whoever waits in :meth:`get`.

    Thread-safety: incompatible; belongs to the thread of its event loop.
    """

    def __init__(self, mailboxes: Mailboxes, number: int) -> None:
        self.number = number
        self.loop = asyncio.get_running_loop()
        self.closed = False
        self._mailboxes = mailboxes
        self._ready: deque[_T] = deque()
        self._arrived = asyncio.Event()
        self.loop.add_reader(mailboxes.bells[number], self.fetch)

    @abstractmethod
    def accept(self, name: str, value: Any) -> None:
        """Take notice of a message."""

    @abstractmethod
    def end(self) -> None:
        """Take notice that the mailboxes were closed; what is delivered now is still received."""

    def deliver(self, item: _T) -> None:
        """Have :meth:`get` return ``item``, after what was delivered before."""
        self._ready.append(item)
        self._arrived.set()

    async def get(self, timeout: float | None = None) -> _T | None:
        """What was delivered; ``None`` if nothing was within ``timeout`` seconds.

        It suspends its task only when there is nothing; then the event loop gets its turn before more is fetched.

        Raises:
            Closed: the mailboxes are closed, and nothing is left.
        """
        while not self._ready:
            if self.closed:
                raise Closed("the mailboxes are closed; make new ones")
            self._arrived.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._arrived.wait()
            except TimeoutError:
                return None
        return self._ready.popleft()

    def fetch(self, most: int = _BATCH) -> None:
        """Accept up to ``most`` messages that are there."""
        try:
            for name, value in self._mailboxes.take(self.number, most):
                self.accept(name, value)
        except Closed:
            if not self.closed:
                self.closed = True
                self.loop.remove_reader(self._mailboxes.bells[self.number])
                self.end()
                self._arrived.set()
