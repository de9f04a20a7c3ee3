"""The store for threads of one process: a native table that holds values by reference."""

from __future__ import annotations

import os
from typing import Any, final

from offgil import _core
from offgil.errors import StoreTimeout
from offgil.runtime import Decision
from offgil.store.base import MISSING, ResultStore, StoreStats

__all__ = ["SharedStateStore"]

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_core._after_fork_in_child)


@final
class SharedStateStore(ResultStore):
    """Results shared by the threads of one process, by reference: ``store[key] is value``.

    Nothing is copied or pickled.  Keys are compared by their ``str`` value; iterating yields plain ``str`` objects.  A
    thread that waits is parked in the operating system and costs no CPU.  After a ``fork`` the child cannot use the
    parent's store (:class:`~offgil.errors.StoreUnavailable`).

    See :class:`~offgil.store.base.ResultStore` for the meaning of each method.

    Thread-safety: safe on shared objects; each operation on one key is atomic, and so is :meth:`take`.
    """

    def __init__(self, *, decision: Decision | None = None) -> None:
        self._table = _core.SharedTable()
        self.decision = decision or Decision("shared", "SharedStateStore was made by name")

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
        return self._table.wait(key, timeout)

    def pop(self, key: str, default: Any = MISSING, *, timeout: float | None = 0) -> Any:
        value = self._table.pop(key, default, timeout)
        if value is not MISSING:
            return value
        if timeout == 0:
            raise KeyError(key)
        raise StoreTimeout(f"no result under {key!r} within {timeout} s")

    def take(self, topic: str | None = None, timeout: float | None = None) -> tuple[str, Any]:
        return self._table.take(topic, timeout)

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
            bytes_used=0,
            bytes_limit=0,
            puts=counters.puts,
            takes=counters.takes,
            waiters=counters.waiters,
        )

    def __repr__(self) -> str:
        return f"<SharedStateStore {'closed' if self.closed else f'entries={self.stats().entries}'}>"
