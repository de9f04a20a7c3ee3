"""The contract that every result store keeps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import ItemsView, Iterator, MutableMapping, ValuesView
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from offgil.runtime import Decision

__all__ = ["ResultStore", "StoreStats"]

#: Marks an argument that was not given, where ``None`` is a value.
MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Counters of one store since it was made.

    Attributes:
        entries: results held now.
        bytes_used: bytes of values held now; 0 where values are kept by reference.
        bytes_limit: the bound on ``bytes_used``; 0 for no bound.
        puts: values published.
        takes: values consumed by ``take`` and ``pop``.
        waiters: callers parked now.
    """

    entries: int
    bytes_used: int
    bytes_limit: int
    puts: int
    takes: int
    waiters: int


class ResultStore(MutableMapping[str, Any]):
    """A mapping from ``str`` keys to results that can also wait for them.

    ``None`` is a value.  Reading does not consume.  Values are immutable once published: a store may hand out the very
    object (shared-state) or a copy (managed-dict).  Every entry belongs to one *topic* (``None`` unless given) and has
    a *priority* from 0 to 63, which only :meth:`take` looks at.

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
        priority: int = 0,
        topic: str | None = None,
        if_absent: bool = False,
    ) -> bool:
        """Publish ``value`` under ``key`` and wake whoever waits for it.

        Args:
            key: any ``str``; an existing result is replaced.
            value: the result; ``None`` is a value.
            priority: 0 to 63; :meth:`take` hands out higher ones first.
            topic: the queue that :meth:`take` finds the entry in.
            if_absent: leave an existing result as it is.

        Returns:
            ``False`` only if ``if_absent`` found a result in place.

        Raises:
            StoreFull: no room.  The old result, if any, stays.
            CodecError: the value cannot be stored.
            Closed: the store is closed.
        """

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
            if (value := self.pop(key, MISSING)) is not MISSING:
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
            if (value := self._mapping.get(key, MISSING)) is not MISSING:
                yield key, value


class _Values(ValuesView[Any]):
    _mapping: ResultStore

    def __iter__(self) -> Iterator[Any]:
        for _, value in self._mapping.items():
            yield value
