"""The store for processes of one machine: a native table in shared memory."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing import reduction
from typing import Any, final

from offgil import _core
from offgil.errors import StoreTimeout
from offgil.runtime import Decision
from offgil.store.base import MISSING, ResultStore, StoreStats
from offgil.store.codec import decode, encode

__all__ = ["ManagedDictStore"]

_DEFAULT_ENTRIES = 1 << 20


@final
class ManagedDictStore(ResultStore):
    """Results shared by processes of one machine, in memory that they all map.

    A value is copied in and out: what is read is equal to what was put, and never the same object. ``bytes``,
    ``str``, numbers, ``None``, buffers (read back as ``bytes``) and numpy arrays are stored as they are;
    everything else goes by pickle.

    Other processes get the store by ``fork``, or by being handed it: as an argument of a
    :class:`multiprocessing.Process` or through anything that :mod:`multiprocessing` pickles. Any of them may
    be killed at any moment; the others go on. A wait costs no CPU, and a value whose wake-up got lost with a
    killed process is found within 250 ms.

    :meth:`close` in the process that made the store closes it for all processes and wakes all of their
    waiters. In any other process it ends only that one's use of this object. The memory goes when the last
    process has dropped the store, closed or not.

    Limits: keys of 4096 bytes and topics of 240 bytes in UTF-8 (:class:`~offgil.errors.KeyTooLong`), 1023
    distinct topics, 4096 waiters (:class:`~offgil.errors.StoreFull`), 256 processes
    (:class:`~offgil.errors.StoreUnavailable`).

    See :class:`~offgil.store.base.ResultStore` for the meaning of each method.

    Args:
        max_bytes: room for values, 1 MiB to 250 GiB, rounded up to 64 KiB; used only as results fill it.
        max_entries: at least so many results have a place.

    Raises:
        StoreUnavailable: the system gives no shared memory.

    Thread-safety: safe on shared objects; each operation on one key is atomic, and so is :meth:`take`.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 1 << 30,
        max_entries: int | None = None,
        decision: Decision | None = None,
    ) -> None:
        entries = _DEFAULT_ENTRIES if max_entries is None else max_entries
        if not 1 << 20 <= max_bytes <= 250 << 30:
            raise ValueError(f"max_bytes must be 1 MiB to 250 GiB, not {max_bytes}")
        if not 1 <= entries <= 1 << 28:
            raise ValueError(f"max_entries must be 1 to {1 << 28}, not {entries}")
        self._table = _core.ManagedStore.create(max_bytes, entries, encode, decode)
        self.decision = decision or Decision("managed", "ManagedDictStore was made by name")

    def put(
        self,
        key: str,
        value: Any,
        *,
        priority: int = 0,
        topic: str | None = None,
        if_absent: bool = False,
    ) -> bool:
        return self._table.put(key, value, priority, topic, if_absent)

    def wait(self, key: str, timeout: float | None = None) -> Any:
        value = self._table.wait(key, False, timeout, MISSING)
        if value is MISSING:
            raise StoreTimeout(f"no result under {key!r} within {timeout} s")
        return value

    def pop(self, key: str, default: Any = MISSING, *, timeout: float | None = 0) -> Any:
        value = self._table.wait(key, True, timeout, default)
        if value is not MISSING:
            return value
        if timeout == 0:
            raise KeyError(key)
        raise StoreTimeout(f"no result under {key!r} within {timeout} s")

    def take(self, topic: str | None = None, timeout: float | None = None) -> tuple[str, Any]:
        entry = self._table.take(topic, timeout, None)
        if entry is None:
            raise StoreTimeout(f"no entry in topic {topic!r} within {timeout} s")
        return entry

    def __getitem__(self, key: str) -> Any:
        return self._table.get(key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._table.put(key, value, 0, None, False)

    def __delitem__(self, key: str) -> None:
        self._table.remove(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._table.contains(key)

    def __len__(self) -> int:
        return len(self._table)

    def _keys(self) -> list[str]:
        return self._table.keys()

    def clear(self) -> None:
        self._table.clear()

    def close(self) -> None:
        self._table.close()

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
        )

    def __reduce__(self) -> tuple[Callable[..., ManagedDictStore], tuple[Any, Decision]]:
        # Sends the descriptor, to a child that is being spawned or through multiprocessing's own server.
        return _attach, (reduction.DupFd(self._table.fileno()), self.decision)

    def __repr__(self) -> str:
        return f"<ManagedDictStore {'closed' if self.closed else f'entries={len(self)}'}>"


def _attach(descriptor: Any, decision: Decision) -> ManagedDictStore:
    store = ManagedDictStore.__new__(ManagedDictStore)
    store._table = _core.ManagedStore.attach(descriptor.detach(), encode, decode)
    store.decision = decision
    return store
