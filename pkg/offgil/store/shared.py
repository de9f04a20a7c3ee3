"""The store for threads of one process: a native table that holds values by reference."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pickle import PickleBuffer
from typing import TYPE_CHECKING, Any, final, get_args

from offgil import _core
from offgil.errors import Closed, CodecError
from offgil.runtime import Decision
from offgil.store.base import MISSING, Entry, OnFull, ResultStore, StoreStats, check_whole, too_late
from offgil.store.failure import Failure

__all__ = ["SharedStateStore"]

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_core.after_fork_in_child)

if TYPE_CHECKING:
    _Contract = ResultStore
else:
    # A native class has its extension's metaclass, which does not combine with ABCMeta.  So the contract's
    # concrete methods are taken over without its metaclass, and the class is registered as a ResultStore
    # below.
    _Contract = type(
        "_Contract",
        (),
        {"__slots__": ()}
        | {
            name: member
            for base in reversed(ResultStore.__mro__[:-1])
            for name, member in vars(base).items()
            if (callable(member) or member is None) and not getattr(member, "__isabstractmethod__", False)
        },
    )


@final
class SharedStateStore(_core.SharedTable, _Contract):
    """Results shared by the threads of one process, by reference: ``store[key] is value``.

    Nothing is copied or pickled.  Keys are compared by their ``str`` value; iterating yields plain ``str`` objects.  A
    thread that waits is parked in the operating system and costs no CPU; futures and tasks are told by the thread that
    publishes.  After a ``fork`` the child cannot use the parent's store (:class:`~offgil.errors.StoreUnavailable`).

    :meth:`snapshot` is of one instant: every put, pop and take happened before it or after it.

    See :class:`~offgil.store.base.ResultStore` for the meaning of each method.

    Args:
        max_bytes: bound on the sum of ``sizeof(value)``; ``None`` for none.
        max_entries: bound on the number of results; ``None`` for none.
        on_full: what a put does that finds no room: ``"block"``, ``"raise"`` or ``"evict"``.
        sizeof: says how many bytes a value counts for, an ``int`` from 0.  Called once by each put, with no lock held;
            what it raises, the put raises.  ``max_bytes`` needs it.

    Raises:
        ValueError: a bound below 1, ``max_bytes`` without ``sizeof``, or an unknown ``on_full``.

    Thread-safety: safe on shared objects; each operation on one key is atomic, and so are :meth:`take` and
    :meth:`snapshot`.
    """

    # Without a dict, so that CPython's specialised look-up finds the methods.
    __slots__ = ("__weakref__", "_bounds", "decision")

    def __init__(
        self,
        *,
        max_bytes: int | None = None,
        max_entries: int | None = None,
        on_full: OnFull = "raise",
        sizeof: Callable[[Any], int] | None = None,
        decision: Decision | None = None,
    ) -> None:
        if max_bytes is not None and sizeof is None:
            raise ValueError(
                "max_bytes needs sizeof: the shared-state store keeps references and cannot tell how large a value is; "
                "pass sizeof=sys.getsizeof, or sizeof=len for bytes"
            )
        check_whole(max_bytes=max_bytes, max_entries=max_entries)
        for name, bound in (("max_bytes", max_bytes), ("max_entries", max_entries)):
            if bound is not None and bound < 1:
                raise ValueError(f"{name} must be None or at least 1, not {bound}")
        if on_full not in get_args(OnFull):
            raise ValueError(f"on_full must be one of {', '.join(map(repr, get_args(OnFull)))}, not {on_full!r}")
        super().__init__(Failure, sizeof, max_bytes, max_entries, on_full)
        self._bounds = (max_bytes or 0, max_entries or 0)
        self.decision = decision or Decision("shared", "SharedStateStore was made by name")

    def _keys(self) -> list[str]:
        return self.key_list()

    def _peek(self, key: str, default: Any) -> Any:
        return self.peek(key, default)

    def _remove(self, key: str, default: Any) -> Any:
        return self.remove(key, default)

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
        if not isinstance(exc, BaseException):
            raise TypeError(f"put_exception() takes an exception object, not {type(exc).__name__}: {exc!r}")
        self.put(key, Failure(exc), ttl=ttl, priority=priority, topic=topic, timeout=timeout)

    def future(self, key: str) -> Future[Any]:
        future = _ResultFuture(self)
        future._listener = self.listen(key, future, None)
        return future

    async def wait_async(self, key: str, timeout: float | None = None) -> Any:
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout must be None or a number of seconds from 0, not {timeout!r}")
        value = self.get(key, MISSING)
        if value is not MISSING:
            return value
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        listener = self.listen(key, future, _mailbox())
        try:
            if timeout is None:
                value = await future
            else:
                try:
                    async with asyncio.timeout(timeout):
                        value = await future
                except TimeoutError:
                    raise too_late(key, timeout) from None
        finally:
            self.unlisten(listener)
        if type(value) is Failure:
            raise value.fresh()
        return value

    @contextmanager
    def reserve(
        self,
        key: str,
        nbytes: int,
        *,
        ttl: float | None = None,
        priority: int = 0,
        topic: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[memoryview]:
        check_whole(nbytes=nbytes)
        if nbytes < 0:
            raise ValueError(f"nbytes must be a number of bytes from 0, not {nbytes}")
        if self.closed:
            raise Closed("the shared-state store is closed")
        loan = _core.SharedLoan(nbytes)
        view = memoryview(loan)
        try:
            yield view
        except BaseException:
            _release(view)
            raise
        _release(view)
        try:
            value = loan.finish()
        except BufferError:
            raise BufferError(
                f"the memory reserved for {key!r} is still in use, for instance by a numpy array or a slice of the "
                "view: nothing was published; let go of them (del) before the block ends"
            ) from None
        self.put(key, value, ttl=ttl, priority=priority, topic=topic, timeout=timeout)

    def view(self, key: str) -> memoryview:
        value = self[key]
        try:
            view = memoryview(value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value)
            if "O" in view.format:
                raise TypeError("it holds references to Python objects")
            # PickleBuffer.raw() also knows the formats that memoryview.cast() does not.
            flat = PickleBuffer(view).raw() if view.c_contiguous else memoryview(view.tobytes())
        except (TypeError, ValueError) as error:
            raise CodecError(
                f"the value under {key!r} is a {type(value).__name__}, without bytes to look at: {error}"
            ) from None
        return flat.toreadonly()

    def snapshot(self) -> list[Entry]:
        return [
            Entry(
                key, "published", "exception" if failed else "reference", size, priority, topic, age, ttl, producer, 0
            )
            for key, failed, size, priority, topic, age, ttl, producer in self.sightings()
        ]

    def stats(self) -> StoreStats:
        counters = self.counters()
        max_bytes, max_entries = self._bounds
        return StoreStats(
            entries=counters.entries,
            bytes_used=counters.bytes,
            bytes_limit=max_bytes,
            puts=counters.puts,
            takes=counters.takes,
            waiters=counters.waiters,
            entries_limit=max_entries,
            blocked=counters.blocked,
            expired=counters.expired,
            evicted=counters.evicted,
        )

    def __repr__(self) -> str:
        return f"<SharedStateStore {'closed' if self.closed else f'entries={self.stats().entries}'}>"


# It derives from the native class and not from ResultStore, so help() would find nothing.
for _name in ("future", "put_exception", "reserve", "snapshot", "stats", "view", "wait_async"):
    getattr(SharedStateStore, _name).__doc__ = getattr(ResultStore, _name).__doc__


ResultStore.register(SharedStateStore)


class _ResultFuture(Future[Any]):
    """Withdraws its listener when it is cancelled."""

    _listener: _core.SharedListener

    def __init__(self, store: SharedStateStore) -> None:
        super().__init__()
        self._store = store

    def cancel(self) -> bool:
        if not super().cancel():
            return False
        # Whoever unlinks the listener tells those that wait for the future: this call, or the publisher in _arrive.
        if self._store.unlisten(self._listener):
            self.set_running_or_notify_cancel()
        return True

    def _arrive(self, value: Any, closed: bool) -> None:
        if not self.set_running_or_notify_cancel():
            return
        if closed:
            self.set_exception(Closed("the shared-state store was closed"))
        elif type(value) is Failure:
            self.set_exception(value.fresh())
        else:
            self.set_result(value)


# The mailbox of the thread's running loop.  Weak: the listeners that wait keep it, and else nothing keeps the loop.
_mailboxes = threading.local()


def _mailbox() -> _core.LoopMailbox:
    loop = asyncio.get_running_loop()
    known: weakref.ref[_core.LoopMailbox] | None = getattr(_mailboxes, "last", None)
    mailbox = known() if known is not None else None
    if mailbox is None or mailbox.loop is not loop:
        mailbox = _core.LoopMailbox(loop)
        _mailboxes.last = weakref.ref(mailbox)
    return mailbox


def _release(view: memoryview) -> None:
    # If something looks at it, whoever asks the loan hears of it.
    with suppress(BufferError):
        view.release()
