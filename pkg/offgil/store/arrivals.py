"""The futures and tasks of one process that wait for results in a managed-dict store.

One thread serves them all: it sleeps until some of their keys are there, reads each result, and hands it over.  Tasks
of one event loop that get theirs at the same time cost one wake-up of the loop.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections import defaultdict
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, NamedTuple

from offgil import _core
from offgil.errors import Closed
from offgil.store.base import MISSING

__all__ = ["Arrivals", "Outcome", "ResultFuture"]


class Outcome(NamedTuple):
    """A result, or with ``raised`` the exception that reading it raised."""

    value: Any
    raised: bool = False


class _Waiting(NamedTuple):
    future: Any  # a concurrent.futures.Future, or the asyncio.Future[Outcome] of `loop`
    loop: asyncio.AbstractEventLoop | None


class Arrivals:
    """Those who wait for keys of one store in this process, and the thread that serves them.

    Thread-safety: safe on shared objects.
    """

    def __init__(self, table: _core.ManagedStore) -> None:
        self.pid = os.getpid()
        self._table = table
        self._watch = _core.ManagedWatch(table)
        self._lock = threading.Lock()  # guards the next two; never held while a future's callbacks run
        self._waiting: dict[str, list[_Waiting]] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="offgil-store", daemon=True)
        self._thread.start()
        _running.add(self)

    def add(self, key: str, future: Any, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Have ``future`` get the result of ``key``; with ``loop``, an :class:`Outcome` of it, in that loop."""
        with self._lock:
            if self._closed:
                raise Closed("the store is closed; open a new one")
            self._watch.add(key)
            self._waiting.setdefault(key, []).append(_Waiting(future, loop))

    def withdraw(self, key: str, future: Any) -> bool:
        """Forget ``future``; ``False`` if it is not there any more."""
        with self._lock:
            several = self._waiting.get(key, [])
            left = [waiting for waiting in several if waiting.future is not future]
            if len(left) == len(several):
                return False
            if left:
                self._waiting[key] = left
            else:
                del self._waiting[key]
                self._watch.discard(key)
            return True

    def stop(self) -> None:
        """Have the thread end, without waiting for it."""
        self._watch.stop()

    def close(self) -> None:
        """End the thread; everyone who waits gets :class:`~offgil.errors.Closed`."""
        self.stop()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _serve(self) -> None:
        failure: BaseException = Closed("the store was closed while this waited for a result")
        try:
            while (keys := self._watch.next(None)) is not None:
                self._deliver(keys)
        except Closed:
            pass
        except BaseException as exc:  # handed to those who wait
            failure = exc
        with self._lock:
            self._closed = True
            left = [waiting for several in self._waiting.values() for waiting in several]
            self._waiting.clear()
        _settle([(waiting, Outcome(failure, raised=True)) for waiting in left])

    def _deliver(self, keys: list[str]) -> None:
        settled = []
        for key in keys:
            with self._lock:
                several = self._waiting.pop(key, [])
            for number, waiting in enumerate(several):
                outcome = self._read(key)
                if outcome is None:  # taken by somebody else meanwhile: the rest waits on
                    for again in several[number:]:
                        self.add(key, *again)
                    break
                settled.append((waiting, outcome))
        _settle(settled)

    def _read(self, key: str) -> Outcome | None:
        # Each waiter gets an object of its own.
        try:
            value = self._table.wait(key, False, 0, MISSING, True)
        except Closed:
            raise
        except BaseException as exc:
            return Outcome(exc, raised=True)
        return None if value is MISSING else Outcome(value)


class ResultFuture(Future[Any]):
    """A future that leaves when it is cancelled."""

    def __init__(self, arrivals: Arrivals, key: str) -> None:
        super().__init__()
        self._arrivals, self._key = arrivals, key

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        # Whoever takes it out of the list tells those that wait for it: this call, or the thread that settles it.
        if self._arrivals.withdraw(self._key, self):
            self.set_running_or_notify_cancel()
        return True


def _settle(settled: list[tuple[_Waiting, Outcome]]) -> None:
    by_loop = defaultdict(list)
    for waiting, outcome in settled:
        if waiting.loop is None:
            _settle_future(waiting.future, outcome)
        else:
            by_loop[waiting.loop].append((waiting.future, outcome))
    for loop, several in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed, and its tasks with it
            loop.call_soon_threadsafe(_settle_tasks, several)


def _settle_future(future: Future[Any], outcome: Outcome) -> None:
    if not future.set_running_or_notify_cancel():
        return
    if outcome.raised:
        future.set_exception(outcome.value)
    else:
        future.set_result(outcome.value)


def _settle_tasks(several: list[tuple[asyncio.Future[Outcome], Outcome]]) -> None:
    for future, outcome in several:
        if not future.done():
            future.set_result(outcome)


_running: weakref.WeakSet[Arrivals] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # A daemon thread that is still there when the interpreter goes away would be frozen in the middle of its work.
    for arrivals in list(_running):
        if arrivals.pid == os.getpid():
            arrivals.close()
