"""What an executor and its worker processes share: a private managed-dict store, and a claim for each worker.

The store holds two topics.  ``t``: tasks, each under its number in hexadecimal digits.  ``r``: what became of them, and
other news for the parent, with one letter in front of the number:

=====  ==================================================================
``v``  the task's result, as the store itself encodes it
``p``  the task's result as a frame (frames.py)
``e``  the exception that it raised, as a frame
``b``  the initializer raised: its traceback; the number is the worker's
``d``  the worker of that number has ended; put by the parent's watcher
``s``  look whether it is time to end; put by the parent
=====  ==================================================================

A worker's *claim* is the number of the task that it runs or ran last, and since when.  The store itself writes it before
the task leaves its topic, so that whatever instant a worker is killed at, its task is either still in the topic or in its
claim.
"""

from __future__ import annotations

import mmap
import os
import time
from multiprocessing import reduction
from typing import Any, NamedTuple

from offgil import _core
from offgil.executor.frames import Frame, Parts

__all__ = ["MAX_WORKERS", "NEWS", "TASKS", "Channel", "Claim"]

TASKS, NEWS = "t", "r"
#: The store has 256 places for processes, and one is the parent's.
MAX_WORKERS = 250
_CLAIM_SIZE = 16  # number and since, 8 bytes each
_PARTS = 32  # a codec that the store does not know by itself
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
        # "block": a worker whose result finds no room waits until the parent has taken others.
        table = _core.ManagedStore.create(max_bytes, 0, 1, -1, _encode, _decode)
        claims = os.memfd_create("offgil-claims", os.MFD_CLOEXEC)
        os.ftruncate(claims, MAX_WORKERS * _CLAIM_SIZE)
        self._set_up(table, claims)

    def _set_up(self, table: _core.ManagedStore, claims: int) -> None:
        self.table = table
        self._claims_fd = claims
        self._memory = memoryview(mmap.mmap(claims, MAX_WORKERS * _CLAIM_SIZE))
        # Reads and writes each word as a whole.
        self._claims = self._memory.cast("Q")

    def put_task(self, number: int, frame: Frame, priority: int) -> None:
        """Queue a task."""
        self.table.put(f"{number:x}", frame, None, priority, TASKS, False, None)

    def put_news(self, letter: str, number: int, value: Any) -> None:
        """Tell the parent something."""
        self.table.put(f"{letter}{number:x}", value, None, 0, NEWS, False, None)

    def is_queued(self, number: int) -> bool:
        """Whether no worker has taken the task."""
        return self.table.contains(f"{number:x}")

    def withdraw(self, number: int) -> bool:
        """Take a task back; ``False`` if a worker has it."""
        try:
            self.table.remove(f"{number:x}")
        except KeyError:
            return False
        return True

    def claim_memory(self, slot: int) -> memoryview:
        """The memory of a worker's claim, for ``table.take``."""
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

    def __del__(self) -> None:
        if (fd := getattr(self, "_claims_fd", -1)) >= 0:
            os.close(fd)

    def __reduce__(self) -> tuple[Any, ...]:
        return _attach, (reduction.DupFd(self.table.fileno()), reduction.DupFd(self._claims_fd))


def _attach(store: Any, claims: Any) -> Channel:
    channel = Channel.__new__(Channel)
    channel._set_up(_core.ManagedStore.attach(store.detach(), _encode, _decode), claims.detach())
    return channel


# Frames are encoded before they come to the store, so that a task is claimed before anything of it is unpickled.


def _encode(key: str, value: Any) -> tuple[int, list[Any]]:
    assert type(value) is Parts, f"{key}: {value!r}"
    return _PARTS, value


def _decode(key: str, codec: int, data: bytes | memoryview) -> memoryview:
    assert codec == _PARTS, f"{key}: codec {codec}"
    return memoryview(data)
