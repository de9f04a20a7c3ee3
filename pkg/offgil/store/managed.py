"""The store for processes of one machine: a native table in shared memory."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager
from multiprocessing import reduction
from types import TracebackType
from typing import Any, final, get_args

from offgil import _core
from offgil.errors import CodecError, StoreTimeout, StoreUnavailable
from offgil.runtime import Decision
from offgil.store import named
from offgil.store.arrivals import Arrivals, Outcome, ResultFuture
from offgil.store.base import MISSING, Entry, OnFull, ResultStore, StoreStats, check_whole, too_late
from offgil.store.codec import NAMES, Codec, flat_bytes

__all__ = ["ManagedDictStore"]

_POLICIES = {"raise": 0, "block": 1, "evict": 2}


@final
class ManagedDictStore(ResultStore):
    """Results shared by processes of one machine, in memory that they all map.

    What is read is equal to what was put, and never the same object. ``bytes``, ``str``, numbers, ``None``, buffers
    (read back as ``bytes``) and numpy arrays are stored as they are; everything else goes by pickle.  Arrays are
    read-only and lie in the store's memory, which stays in place while anything looks at it; so do the arrays within
    pickled objects.

    Other processes get the store by ``fork``, or by being handed it: as an argument of a
    :class:`multiprocessing.Process` or through anything that :mod:`multiprocessing` pickles. Any of them may
    be killed at any moment; the others go on. A wait costs no CPU, and a value whose wake-up got lost with a
    killed process is found within 250 ms.  After a ``fork``, futures and memory that was reserved are the parent's;
    views are the child's, too.

    With ``name``, any process of the same user attaches to the store of that name, and the first one makes it: then its
    bounds are what counts.  A named store outlives its processes, until ``offgil store rm`` or the machine's
    next start.  Pickle is off there: whoever can write to it could run code in all who read.

    :meth:`close` in the process that made a store without a name closes it for all processes and wakes all of their
    waiters. Elsewhere it ends only that process's use of this object. The memory goes when the last
    process has dropped the store, closed or not.

    :meth:`snapshot` and :meth:`stats` see one part of the table after the other, each of them at one instant.
    :meth:`future` and :meth:`wait_async` are served by one thread for each store and process.

    Limits: keys of 4096 bytes and topics of 240 bytes in UTF-8 (:class:`~offgil.errors.KeyTooLong`), 1023
    distinct topics, 4096 waiters (:class:`~offgil.errors.StoreFull`), 256 processes
    (:class:`~offgil.errors.StoreUnavailable`).

    See :class:`~offgil.store.base.ResultStore` for the meaning of each method.

    Args:
        name: letters, digits, ``.``, ``_`` and ``-``; ``None`` for a private store.
        max_bytes: room for values, 1 MiB to 250 GiB, rounded up to 64 KiB; used only as results fill it.
        max_entries: bound on the number of results; ``None`` for what memory allows, at least a million.
        on_full: what a put does that finds no room: ``"block"``, ``"raise"`` or ``"evict"``.
        pickle: whether values may go by pickle; ``None``: in a private store only.

    Raises:
        StoreUnavailable: the system gives no shared memory, or the folder of named stores is not safe.
        StoreCorrupted: what has that name is damaged or of another version.

    Thread-safety: safe on shared objects; each operation on one key is atomic, and so is :meth:`take`.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        max_bytes: int = 1 << 30,
        max_entries: int | None = None,
        on_full: OnFull = "raise",
        pickle: bool | None = None,
        decision: Decision | None = None,
    ) -> None:
        check_whole(max_bytes=max_bytes, max_entries=max_entries)
        if not 1 << 20 <= max_bytes <= 250 << 30:
            raise ValueError(f"max_bytes must be 1 MiB to 250 GiB, not {max_bytes}")
        if max_entries is not None and not 1 <= max_entries <= 1 << 28:
            raise ValueError(f"max_entries must be None or 1 to {1 << 28}, not {max_entries}")
        if on_full not in _POLICIES:
            raise ValueError(f"on_full must be one of {', '.join(map(repr, get_args(OnFull)))}, not {on_full!r}")
        codec = Codec(pickle=name is None if pickle is None else pickle)

        def create(fd: int) -> _core.ManagedStore:
            bounds = max_bytes, max_entries or 0, _POLICIES[on_full]
            return _core.ManagedStore.create(*bounds, fd, codec.encode, codec.decode)

        def attach(fd: int) -> _core.ManagedStore:
            return _core.ManagedStore.attach(fd, codec.encode, codec.decode)

        table = create(-1) if name is None else named.open_or_create(name, create, attach)
        self._set_up(table, codec, name, decision or Decision("managed", "ManagedDictStore was made by name"))

    @classmethod
    def _existing(cls, name: str) -> ManagedDictStore:
        """The store of that name; never makes one."""
        codec, store = Codec(pickle=False), cls.__new__(cls)
        table = named.open_existing(name, lambda fd: _core.ManagedStore.attach(fd, codec.encode, codec.decode))
        store._set_up(table, codec, name, Decision("managed", "it was there"))
        return store

    def _set_up(self, table: _core.ManagedStore, codec: Codec, name: str | None, decision: Decision) -> None:
        self._table = table
        self._codec = codec
        self._arrivals: Arrivals | None = None
        self.name = name
        self.decision = decision

    def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        priority: int = 0,
        topic: str | None = None,
        if_absent: bool = False,
        timeout: float | None = None,
    ) -> bool:
        return self._table.put(key, value, ttl, priority, topic, if_absent, timeout)

    def put_exception(
        self,
        key: str,
        exc: BaseException,
        *,
        ttl: float | None = None,
        priority: int = 0,
        topic: str | None = None,
        timeout: float | None = None,
    ) -> None:
        self._table.put_exception(key, self._codec.encode_exception(exc), ttl, priority, topic, timeout)

    def wait(self, key: str, timeout: float | None = None) -> Any:
        value = self._table.wait(key, False, timeout, MISSING, True)
        if value is MISSING:
            raise too_late(key, timeout)
        return value

    def pop(self, key: str, default: Any = MISSING, *, timeout: float | None = 0) -> Any:
        value = self._table.wait(key, True, timeout, default, True)
        if value is not MISSING:
            return value
        if timeout == 0:
            raise KeyError(key)
        raise too_late(key, timeout)

    def take(self, topic: str | None = None, timeout: float | None = None) -> tuple[str, Any]:
        entry = self._table.take(topic, timeout, None)
        if entry is None:
            raise StoreTimeout(f"no entry in topic {topic!r} within {timeout} s")
        return entry

    def as_completed(self, keys: Iterable[str], timeout: float | None = None) -> Iterator[tuple[str, Any]]:
        watch = _core.ManagedWatch(self._table)
        for key in keys:
            watch.add(key)
        return self._as_completed(watch, timeout, _deadline(timeout))

    def _as_completed(
        self, watch: _core.ManagedWatch, timeout: float | None, deadline: float | None
    ) -> Iterator[tuple[str, Any]]:
        total, done = len(watch), 0
        while done < total:
            keys = watch.next(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if not keys:
                raise StoreTimeout(f"{total - done} of {total} results did not come within {timeout} s")
            for key in keys:
                value = self._peek(key, MISSING)
                if value is MISSING:
                    watch.add(key)  # somebody was faster to remove it
                    continue
                done += 1
                yield key, value

    def future(self, key: str) -> Future[Any]:
        arrivals = self._serving()
        future = ResultFuture(arrivals, key)
        arrivals.add(key, future)
        return future

    async def wait_async(self, key: str, timeout: float | None = None) -> Any:
        _deadline(timeout)  # refuses what is no time
        value = self._table.wait(key, False, 0, MISSING, True)
        if value is not MISSING:
            return value
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        arrivals = self._serving()
        arrivals.add(key, future, loop)
        try:
            await asyncio.wait([future], timeout=timeout)
        finally:
            arrivals.withdraw(key, future)
        if not future.done():
            raise too_late(key, timeout)
        outcome = future.result()
        if outcome.raised:
            raise outcome.value
        return outcome.value

    def _serving(self) -> Arrivals:
        with _starting:
            # After a fork, the thread is the parent's.
            if self._arrivals is None or self._arrivals.pid != os.getpid():
                self._arrivals = Arrivals(self._table)
                weakref.finalize(self, self._arrivals.stop)
            return self._arrivals

    def reserve(
        self,
        key: str,
        nbytes: int,
        *,
        ttl: float | None = None,
        priority: int = 0,
        topic: str | None = None,
        timeout: float | None = None,
    ) -> AbstractContextManager[memoryview]:
        check_whole(nbytes=nbytes)
        if nbytes < 0:
            raise ValueError(f"nbytes must be a number of bytes from 0, not {nbytes}")
        return _Reservation(self._table, key, nbytes, (ttl, priority, topic, timeout))

    def view(self, key: str) -> memoryview:
        codec, memory = self._table.view(key)
        flat = flat_bytes(codec, memory)
        if flat is None:
            raise CodecError(
                f"the value under {key!r} is stored as {NAMES.get(codec, codec)}, without bytes to look at: "
                "read it instead"
            )
        return flat

    def snapshot(self) -> list[Entry]:
        return [
            Entry(
                key,
                "reserved" if reserved else "published",
                "exception" if failed else NAMES.get(codec, str(codec)),
                *rest,
            )
            for key, reserved, failed, codec, *rest in self._table.snapshot()
        ]

    def __getitem__(self, key: str) -> Any:
        return self._table.get(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._table.put(key, value, None, 0, None, False, None)

    def __delitem__(self, key: str) -> None:
        self._table.remove(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._table.contains(key)

    def __len__(self) -> int:
        return len(self._table)

    def get(self, key: str, default: Any = None) -> Any:
        return self._table.wait(key, False, 0, default, True)

    def _keys(self) -> list[str]:
        return self._table.keys()

    def _peek(self, key: str, default: Any) -> Any:
        return self._table.wait(key, False, 0, default, False)

    def _remove(self, key: str, default: Any) -> Any:
        return self._table.wait(key, True, 0, default, False)

    def clear(self) -> None:
        self._table.clear()

    def close(self) -> None:
        self._table.close()
        if self._arrivals is not None and self._arrivals.pid == os.getpid():
            self._arrivals.close()

    @property
    def closed(self) -> bool:
        return self._table.closed

    def stats(self) -> StoreStats:
        counters = self._table.stats()
        return StoreStats(
            entries=counters.entries,
            bytes_used=counters.bytes_used,
            bytes_limit=counters.bytes_limit,
            puts=counters.puts,
            takes=counters.takes,
            waiters=counters.waiters,
            entries_limit=counters.entries_limit,
            blocked=counters.blocked,
            expired=counters.expired,
            evicted=counters.evicted,
        )

    def __reduce__(self) -> tuple[Callable[..., ManagedDictStore], tuple[Any, ...]]:
        # Sends the descriptor, to a child that is being spawned or through multiprocessing's own server.
        return _attach, (reduction.DupFd(self._table.fileno()), self._codec, self.name, self.decision)

    def __repr__(self) -> str:
        name = "" if self.name is None else f"{self.name!r} "
        return f"<ManagedDictStore {name}{'closed' if self.closed else f'entries={len(self)}'}>"


class _Reservation(AbstractContextManager[memoryview]):
    """The block of :meth:`ManagedDictStore.reserve`.

    Thread-safety: safe on distinct objects.
    """

    def __init__(
        self,
        table: _core.ManagedStore,
        key: str,
        nbytes: int,
        options: tuple[float | None, int, str | None, float | None],
    ) -> None:
        self._table, self._key, self._nbytes, self._options = table, key, nbytes, options

    def __enter__(self) -> memoryview:
        self._memory = self._table.reserve(self._key, self._nbytes, self._options[-1])
        self._view = memoryview(self._memory)
        return self._view

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Without these references the memory goes back when nothing else looks at it, unless it is published.
        view, memory = self._view, self._memory
        del self._view, self._memory
        try:
            view.release()
            published = exc_type is not None or self._table.commit(memory, self._key, *self._options)
        except BufferError:
            published = exc_type is not None
        if not published:
            raise BufferError(
                f"the memory reserved for {self._key!r} is still in use, for instance by a numpy array or a slice of "
                "the view: nothing was published; let go of them (del) before the block ends"
            )


def _attach(descriptor: Any, codec: Codec, name: str | None, decision: Decision) -> ManagedDictStore:
    try:
        fd = descriptor.detach()
    except (OSError, EOFError) as exc:
        raise StoreUnavailable(
            f"this process was not given the store's memory ({exc}): hand the store over by multiprocessing while the "
            "process that sends it is alive, or open one with name="
        ) from exc
    store = ManagedDictStore.__new__(ManagedDictStore)
    store._set_up(_core.ManagedStore.attach(fd, codec.encode, codec.decode), codec, name, decision)
    return store


def _deadline(timeout: float | None) -> float | None:
    if timeout is None:
        return None
    if not timeout >= 0:
        raise ValueError(f"timeout must be None or a number of seconds from 0, not {timeout!r}")
    return time.monotonic() + timeout


#: Held while a store gets its thread.
_starting = threading.Lock()


def _after_fork() -> None:
    global _starting  # noqa: PLW0603 - the one of the parent may be held by a thread that is not here
    _starting = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
