"""What an executor and its worker processes share: two private managed-dict stores, and a claim for each worker.

``tasks`` holds each task under its number in hexadecimal digits.  ``news`` holds what became of them, and what else the
parent is told, with one letter in front of the number:

=====  ==================================================================
``v``  the task's result, as the store itself encodes it
``p``  the task's result as a frame (frames.py)
``e``  the exception that it raised, as a frame
``b``  the initializer raised: its traceback; the number is the worker's
``d``  the worker of that number has ended; put by the parent's watcher
``s``  look whether it is time to end; put by the parent
=====  ==================================================================

There are two of them so that tasks which wait for a worker can never take the room that a worker's result waits for.
For the same reason, what is kept does not stay in a store that is half full: its reader gets a copy then.

A worker's *claim* is the number of the task that it runs or ran last, and since when.  The store itself writes it
before the task leaves, so that whatever instant a worker is killed at, its task is either still in the store or in
its claim.
"""

from __future__ import annotations

import mmap
import os
import pickle
import time
from collections.abc import Callable
from multiprocessing import reduction
from typing import Any, NamedTuple

from offgil import _core
from offgil.executor.frames import Frame, Parts

__all__ = ["MAX_WORKERS", "Channel", "Claim", "in_place"]

#: The store has 256 places for processes, and one is the parent's.
MAX_WORKERS = 250
_CLAIM_SIZE = 16  # number and since, 8 bytes each
_PARTS, _PICKLE = 32, 33  # codecs that the store does not know by itself
_STARTING = 2**64 - 1


class Claim(NamedTuple):
    """What a worker is at: 0 is nothing."""

    number: int
    since: float  # of time.monotonic()

    @property
    def starting(self) -> bool:
        """Whether the worker has not come to its first task yet, nor to the end of its initializer."""
        return self.number == _STARTING


class Channel:
    """The store and the claims.  Workers get it by fork, or pickled while they are spawned.

    Thread-safety: safe on shared objects.
    """

    def __init__(self, max_bytes: int) -> None:
        # "block": whoever finds no room waits until others have read.
        tasks, news = (_core.ManagedStore.create(max_bytes, 0, 1, -1, _encode, _decode) for _ in range(2))
        claims = os.memfd_create("offgil-claims", os.MFD_CLOEXEC)
        os.ftruncate(claims, MAX_WORKERS * _CLAIM_SIZE)
        self._set_up(tasks, news, claims)

    def _set_up(self, tasks: _core.ManagedStore, news: _core.ManagedStore, claims: int) -> None:
        self.tasks = tasks
        self.news = news
        self._claims_fd = claims
        self._memory = memoryview(mmap.mmap(claims, MAX_WORKERS * _CLAIM_SIZE))
        # Reads and writes each word as a whole.
        self._claims = self._memory.cast("Q")

    def put_task(self, number: int, frame: Frame, priority: int) -> None:
        """Queue a task."""
        self.tasks.put(f"{number:x}", frame, None, priority, None, False, None)

    def put_news(self, letter: str, number: int, value: Any, timeout: float | None = None) -> None:
        """Tell the parent something; wait for room so many seconds at most."""
        self.news.put(f"{letter}{number:x}", value, None, 0, None, False, timeout)

    def close(self) -> None:
        """Wake everybody with Closed; in the parent only."""
        self.tasks.close()
        self.news.close()

    def is_queued(self, number: int) -> bool:
        """Whether no worker has taken the task."""
        return self.tasks.contains(f"{number:x}")

    def withdraw(self, number: int) -> bool:
        """Take a task back; ``False`` if a worker has it."""
        try:
            self.tasks.remove(f"{number:x}")
        except KeyError:
            return False
        return True

    def claim_memory(self, slot: int) -> memoryview:
        """The memory of a worker's claim, for ``tasks.take``."""
        return self._memory[slot * _CLAIM_SIZE : (slot + 1) * _CLAIM_SIZE]

    def claim(self, slot: int) -> Claim:
        """What the worker is at, as of now."""
        while True:
            number, since = self._claims[2 * slot], self._claims[2 * slot + 1]
            # `since` is written before `number`, so it may belong to the task after this one.
            if self._claims[2 * slot] == number and self._claims[2 * slot + 1] == since:
                return Claim(number, since * 1e-9)

    def mark(self, slot: int, *, starting: bool) -> None:
        """Set the claim of a worker that has no task."""
        self._claims[2 * slot + 1] = time.monotonic_ns()
        self._claims[2 * slot] = _STARTING if starting else 0

    # At the end of the interpreter modules may be gone before this.
    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if (fd := getattr(self, "_claims_fd", -1)) >= 0:
            close(fd)

    def __reduce__(self) -> tuple[Any, ...]:
        fds = self.tasks.fileno(), self.news.fileno(), self._claims_fd
        return _attach, tuple(reduction.DupFd(fd) for fd in fds)


def _attach(tasks: Any, news: Any, claims: Any) -> Channel:
    channel = Channel.__new__(Channel)
    stores = [_core.ManagedStore.attach(each.detach(), _encode, _decode) for each in (tasks, news)]
    channel._set_up(stores[0], stores[1], claims.detach())
    return channel


def in_place(store: _core.ManagedStore, frame: bytes | memoryview) -> bytes | memoryview:
    """The frame as it came, or a copy if it lies in the memory of a store that is half full."""
    if type(frame) is bytes:
        return frame
    stats = store.stats()
    return frame if 2 * stats.memory_used <= stats.bytes_limit else memoryview(bytes(frame))


# Tasks are encoded before they come to the store, so that one is claimed before anything of it is unpickled.  What is
# pickled here are only plain values that the store has no form for: large numbers, lone surrogates.


def _encode(key: str, value: Any) -> tuple[int, list[Any]]:
    return (_PARTS, value) if type(value) is Parts else (_PICKLE, [pickle.dumps(value, protocol=5)])


def _decode(key: str, codec: int, data: bytes | memoryview) -> Any:
    return pickle.loads(data) if codec == _PICKLE else data
