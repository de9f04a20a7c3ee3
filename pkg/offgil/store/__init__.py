"""Result stores: one contract, :class:`ResultStore`, and :func:`open_store`, which chooses one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from offgil.errors import StoreUnavailable
from offgil.runtime import decide_store
from offgil.store.base import Entry, OnFull, ResultStore, StoreStats
from offgil.store.shared import SharedStateStore

if TYPE_CHECKING:
    from offgil.store.managed import ManagedDictStore

__all__ = ["Entry", "ManagedDictStore", "ResultStore", "SharedStateStore", "StoreStats", "open_store"]


def open_store(
    kind: str = "auto",
    *,
    name: str | None = None,
    max_bytes: int = 1 << 30,
    max_entries: int | None = None,
    on_full: OnFull = "raise",
    pickle: bool | None = None,
) -> ResultStore:
    """Make a result store.

    Args:
        kind: ``"shared"``: for threads of this process, by reference.  ``"managed"``: for processes of this
            machine, in shared memory.  ``"auto"``: what ``OFFGIL_STORE`` says, else the faster one for this
            interpreter as it is now; ``store.decision`` says which and why.
        name: of a managed-dict store, which other processes of this user find by it; means ``"managed"``.
        max_bytes: size of the managed-dict store's memory.  The shared-state store keeps references and has
            no bound.
        max_entries: bound on the number of results; ``None`` for none but memory.
        on_full: what a put does that finds no room: ``"raise"``, ``"block"`` or ``"evict"``.
        pickle: whether the managed-dict store may use pickle; ``None``: only without a name.

    Raises:
        UnknownKind: ``kind`` or ``OFFGIL_STORE`` names no store.
        StoreUnavailable: this platform does not have that kind of store.
        ValueError: a bound is out of range, or there is a ``name`` for a shared-state store.

    Thread-safety: safe on shared objects.
    """
    if "://" in kind:
        raise StoreUnavailable(
            f"there is no store for {kind!r} in this version: known kinds are 'auto', 'shared' and 'managed'"
        )
    decision = decide_store("managed" if name is not None and kind == "auto" else kind)
    if decision.kind == "shared":
        if name is not None:
            raise ValueError(f"a shared-state store has no name ({name!r}): use open_store('managed', name={name!r})")
        return SharedStateStore(max_entries=max_entries, on_full=on_full, decision=decision)
    return _managed_class()(
        name, max_bytes=max_bytes, max_entries=max_entries, on_full=on_full, pickle=pickle, decision=decision
    )


def _managed_class() -> type[ManagedDictStore]:
    if sys.platform != "linux":
        raise StoreUnavailable(
            f"the managed-dict store needs Linux (memfd, futexes, robust mutexes), this is {sys.platform}: "
            "use open_store('shared'), which threads of one process share"
        )
    from offgil.store.managed import ManagedDictStore

    return ManagedDictStore


def __getattr__(name: str) -> Any:
    # Imported at first use: the module maps what only Linux has.
    if name == "ManagedDictStore":
        return _managed_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
