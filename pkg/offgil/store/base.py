"""The contract that every result store keeps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import ItemsView, Iterable, Iterator, MutableMapping, ValuesView
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, SupportsIndex

from offgil.errors import StoreTimeout

if TYPE_CHECKING:
    from offgil.runtime import Decision

__all__ = ["Entry", "OnFull", "ResultStore", "StoreStats", "check_whole", "too_late"]

#: What a put does that finds no room: wait for it, raise StoreFull, or remove others' results.
OnFull = Literal["block", "raise", "evict"]

#: Marks an argument that was not given, where ``None`` is a value.
MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Entry:
    """One result as :meth:`ResultStore.snapshot` saw it.

    Attributes:
        key: its key.
        state: ``"published"``, or ``"reserved"`` while a ``reserve`` block fills it (where the store can tell).
        codec: how the value is kept: ``"reference"`` or ``"exception"`` where by reference, else the codec's name.
        nbytes: size of the value in bytes, as it counts against ``max_bytes``; 0 where nobody said how to tell.
        priority: 0 to 63.
        topic: its topic, or ``None``.
        age: seconds since it was published.
        ttl: seconds until it expires; ``None`` for never.
        producer: who published it: a process id, or a thread's ``ident`` where threads share the store.
        pins: processes that look at its memory now; 0 where references do that.

    Thread-safety: safe on shared objects; it never changes.
    """

    key: str
    state: Literal["published", "reserved"]
    codec: str
    nbytes: int
    priority: int
    topic: str | None
    age: float
    ttl: float | None
    producer: int
    pins: int


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Counters of one store since it was made.

    Attributes:
        entries: results held now; those that have expired may be counted until their memory is released.
        bytes_used: bytes of values held now; 0 where nobody said how to tell.
        bytes_limit: the bound on ``bytes_used``; 0 for no bound.
        puts: values published.
        takes: values consumed by ``take`` and ``pop``.
        waiters: callers, futures and tasks that wait for a result now, each key of an ``as_completed`` being one.
        entries_limit: the bound on ``entries``; 0 for no bound.
        blocked: callers that wait for room now.
        expired: results removed because their ``ttl`` was over.
        evicted: results removed to make room for others.

    Thread-safety: safe on shared objects; it never changes.
    """

    entries: int
    bytes_used: int
    bytes_limit: int
    puts: int
    takes: int
    waiters: int
    entries_limit: int = 0
    blocked: int = 0
    expired: int = 0
    evicted: int = 0


class ResultStore(MutableMapping[str, Any]):
    """A mapping from ``str`` keys to results that can also wait for them; docs/store-contract.md is the long form.

    ``None`` is a value.  Reading does not consume.  Values are immutable once published: a store may hand out the very
    object (shared-state) or a copy (managed-dict).  Every entry belongs to one *topic* (``None`` unless given) and has
    a *priority* from 0 to 63, which only :meth:`take` looks at.  An entry whose ``ttl`` is over is as absent.

    A result may be an exception (:meth:`put_exception`).  What reads one key raises it, each time with a traceback of
    its own: ``store[key]``, :meth:`get`, :meth:`wait`, :meth:`pop`, :meth:`view`, :meth:`setdefault`, :meth:`future`,
    :meth:`wait_async`.  What hands out keys gives the exception as an object, since raising would lose the key:
    :meth:`take`, :meth:`as_completed`, :meth:`popitem`, :meth:`items`, :meth:`values`.

    Every store takes ``max_bytes``, ``max_entries`` and ``on_full``, which says what a put does that finds no room:
    ``"raise"`` StoreFull, ``"block"`` until others have made room, or ``"evict"``: remove what has expired, then
    what was read or written least recently, but nothing that is pinned.

    Thread-safety: safe on shared objects; each operation on one key is atomic.
    """

    #: What kind of store this is and why it was chosen.
    decision: Decision

    @abstractmethod
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
        """Publish ``value`` under ``key`` and wake whoever waits for it.

        Args:
            key: any ``str``; an existing result is replaced.
            value: the result; ``None`` is a value.
            ttl: seconds, more than 0, after which the entry is as absent; ``None`` for never.
            priority: 0 to 63; :meth:`take` hands out higher ones first.
            topic: the queue that :meth:`take` finds the entry in.
            if_absent: leave an existing result as it is.
            timeout: seconds to wait for room where ``on_full`` is ``"block"``; ``None`` waits without limit.

        Returns:
            ``False`` only if ``if_absent`` found a result in place.

        Raises:
            StoreFull: no room, or none in time.  The old result, if any, stays.
            CodecError: the value cannot be stored.
            Closed: the store is closed, or was while this waited for room.
        """

    @abstractmethod
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
        """Publish that computing the result failed: who reads ``key`` gets ``exc`` raised.

        Arguments and errors are those of :meth:`put`, and :class:`TypeError` for what is no exception object.
        """

    @abstractmethod
    def get(self, key: str, default: Any = None) -> Any:
        """The result under ``key``, or ``default`` if there is none; a stored exception is raised."""

    @abstractmethod
    def wait(self, key: str, timeout: float | None = None) -> Any:
        """Return the result under ``key``, parking until it is there; it stays in the store.

        Args:
            timeout: seconds; ``None`` waits without limit, 0 does not wait.

        Raises:
            StoreTimeout: nothing came in time.
            Closed: the store is or was closed meanwhile.
        """

    @abstractmethod
    def pop(self, key: str, default: Any = MISSING, *, timeout: float | None = 0) -> Any:
        """Remove ``key`` and return its result, waiting up to ``timeout`` seconds for it.

        As with :meth:`dict.pop`, ``default`` is returned if there is no result, else :class:`KeyError` is raised (with
        no ``timeout``) or :class:`~offgil.errors.StoreTimeout` (after one).
        """

    @abstractmethod
    def take(self, topic: str | None = None, timeout: float | None = None) -> tuple[str, Any]:
        """Remove and return one ``(key, value)`` of ``topic``: highest priority first, oldest first within one.

        Each entry is handed to exactly one taker.

        Args:
            topic: the ``topic`` that the entries were put with; ``None`` for those put without one.
            timeout: seconds; ``None`` waits without limit, 0 does not wait.

        Raises:
            StoreTimeout: nothing came in time.
            Closed: the store is or was closed meanwhile.
        """

    @abstractmethod
    def as_completed(self, keys: Iterable[str], timeout: float | None = None) -> Iterator[tuple[str, Any]]:
        """Iterate over ``(key, value)`` of ``keys`` in the order in which the results arrive; they stay in the store.

        All keys are waited for in one sleep.  A key that is given twice comes once.

        Args:
            keys: read at the call.
            timeout: seconds from the call on; ``None`` waits without limit, 0 gives what is there.

        Raises (from ``next()``):
            StoreTimeout: the time is over; the message says how many keys are missing.
            Closed: the store is or was closed meanwhile.

        Thread-safety of the iterator: safe on distinct objects.
        """

    @abstractmethod
    def future(self, key: str) -> Future[Any]:
        """A future that gets the result under ``key``, at once if it is there; the result stays in the store.

        Who publishes runs the future's callbacks.  ``cancel()`` ends the waiting; closing the store sets
        :class:`~offgil.errors.Closed`.

        Raises:
            Closed: the store is closed.
        """

    @abstractmethod
    async def wait_async(self, key: str, timeout: float | None = None) -> Any:
        """:meth:`wait` for an asyncio task: needs no thread, and cancelling the task ends it.

        Args:
            timeout: seconds; ``None`` waits without limit, 0 does not wait.

        Raises:
            StoreTimeout: nothing came in time.
            Closed: the store is or was closed meanwhile.
        """

    @abstractmethod
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
        """Write a result straight into the store's memory: ``with store.reserve(key, nbytes) as view: …``.

        ``view`` is a writable memoryview of ``nbytes`` bytes whose content is undefined at first.  The end of the block
        publishes it under ``key``, to be read as ``bytes``; an exception in the block drops it, and what was under
        ``key`` stays.  Either way ``view`` is released.

        Args:
            nbytes: size in bytes, from 0.
            ttl, priority, topic, timeout: as for :meth:`put`.

        Raises:
            StoreFull, Closed: as :meth:`put` does, when the block is entered or, where it is known only then, left.
            BufferError: at the end of the block something still looks at ``view``, for instance a numpy array made
                from it.  Nothing is published, and the memory lives until that lets go.
        """

    @abstractmethod
    def view(self, key: str) -> memoryview:
        """A read-only, flat memoryview (format ``"B"``) on the stored bytes of the result under ``key``.

        For ``bytes``, ``str`` (in UTF-8), numpy arrays and other buffers (in C order).  Copies nothing where the bytes
        lie as they are asked for; they stay as long as the view does, whatever becomes of the key.

        Raises:
            KeyError: there is no result.
            CodecError: the result has no bytes to look at.
            Closed: the store is closed.
        """

    @abstractmethod
    def snapshot(self) -> list[Entry]:
        """Describe every entry; each store's class says of which instant.  Reads no values."""

    @abstractmethod
    def close(self) -> None:
        """Wake every waiter with :class:`~offgil.errors.Closed` and refuse further use.  Idempotent."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""

    @abstractmethod
    def stats(self) -> StoreStats:
        """Counters, read without stopping anyone."""

    @abstractmethod
    def clear(self) -> None:
        """Remove every result.  Not atomic as a whole: results published meanwhile may stay."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys as they were at the call; results may come and go meanwhile."""
        return iter(self._keys())

    @abstractmethod
    def _keys(self) -> list[str]: ...

    @abstractmethod
    def _peek(self, key: str, default: Any) -> Any:
        """The result under ``key``, an exception as an object; ``default`` if there is none."""

    @abstractmethod
    def _remove(self, key: str, default: Any) -> Any:
        """The same, and the entry is gone."""

    # MutableMapping's versions of the next four look first and act later, which other threads see.

    def items(self) -> ItemsView[str, Any]:
        """A view that iterates over the results that are still there when their turn comes."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """A view that iterates over the results that are still there when their turn comes."""
        return _Values(self)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the result under ``key``, putting ``default`` there if there is none; all callers agree."""
        while not self.put(key, default, if_absent=True):
            if (value := self.get(key, MISSING)) is not MISSING:
                return value
        return default

    def popitem(self) -> tuple[str, Any]:
        """Remove and return some ``(key, result)``; :class:`KeyError` if there is none."""
        for key in self:
            if (value := self._remove(key, MISSING)) is not MISSING:
                return key, value
        raise KeyError("popitem(): the store is empty")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Items(ItemsView[str, Any]):
    _mapping: ResultStore

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        for key in self._mapping:
            if (value := self._mapping._peek(key, MISSING)) is not MISSING:
                yield key, value


class _Values(ValuesView[Any]):
    _mapping: ResultStore

    def __iter__(self) -> Iterator[Any]:
        for _, value in self._mapping.items():
            yield value


def check_whole(**numbers: object) -> None:
    """Raise :class:`TypeError`, with its name, for what is neither a whole number nor ``None``."""
    for name, number in numbers.items():
        if number is not None and not isinstance(number, (int, SupportsIndex)):
            raise TypeError(f"{name} must be an int, not {type(number).__name__}")


def too_late(key: str, timeout: float | None) -> StoreTimeout:
    """What a wait for a result raises; keys may be long."""
    shown = repr(key)
    return StoreTimeout(f"no result under {shown[:200]}{'…' if len(shown) > 200 else ''} within {timeout} s")
