"""The store for threads of one process: a native table that holds values by reference."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

from offgil import _core
from offgil.runtime import Decision
from offgil.store.base import ResultStore, StoreStats

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
        {
            name: member
            for base in reversed(ResultStore.__mro__[:-1])
            for name, member in vars(base).items()
            if (callable(member) or member is None) and not getattr(member, "__isabstractmethod__", False)
        },
    )


@final
class SharedStateStore(_core.SharedTable, _Contract):
    """Results shared by the threads of one process, by reference: ``store[key] is value``.

    Nothing is copied or pickled.  Keys are compared by their ``str`` value; iterating yields plain ``str``
    objects.  A thread that waits is parked in the operating system and costs no CPU.  After a ``fork`` the
    child cannot use the parent's store (:class:`~offgil.errors.StoreUnavailable`).

    See :class:`~offgil.store.base.ResultStore` for the meaning of each method.

    Thread-safety: safe on shared objects; each operation on one key is atomic, and so is :meth:`take`.
    """

    def __init__(self, *, decision: Decision | None = None) -> None:
        super().__init__()
        self.decision = decision or Decision("shared", "SharedStateStore was made by name")

    def _keys(self) -> list[str]:
        return self.key_list()

    def stats(self) -> StoreStats:
        """Counters, read without stopping anyone."""
        counters = self.counters()
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


ResultStore.register(SharedStateStore)
