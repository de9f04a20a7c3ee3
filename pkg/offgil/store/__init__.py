"""Result stores: one contract, :class:`ResultStore`, and :func:`open_store`, which chooses one."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
    max_bytes: int | None = None,
    max_entries: int | None = None,
    on_full: OnFull = "raise",
    sizeof: Callable[[Any], int] | None = None,
    pickle: bool | None = None,
) -> ResultStore:
    """Make a result store.

    Args:
        kind: ``"shared"``: for threads of this process, by reference.  ``"managed"``: for processes of this
            machine, in shared memory.  ``"auto"``: what ``OFFGIL_STORE`` says, else the faster one for this
            interpreter as it is now; ``store.decision`` says which and why.
        name: make or attach to the managed-dict store of that name, which all processes of this user find.
        max_bytes: bound on the bytes of all values.  ``None``: 1 GiB for the managed-dict store, which fills with
            results only; none for the shared-state store, which keeps references.
        max_entries: bound on the number of results; ``None`` for none, or but memory.
        on_full: what a put does that finds no room: ``"raise"`` StoreFull, ``"block"`` until there is some, or
            ``"evict"`` what was used least recently.
        sizeof: says how many bytes a value counts for in the shared-state store, which cannot tell; the managed-dict
            store, which can, ignores it.
        pickle: whether the managed-dict store may pickle; ``None``: yes, unless it has a name.

    Raises:
        UnknownKind: ``kind`` or ``OFFGIL_STORE`` names no store.
        StoreUnavailable: this platform does not have that kind of store.
        ValueError: a bound that makes no sense, a name for a shared-state store, or ``max_bytes`` without ``sizeof``
            where the store may be a shared-state one: a program that runs on one interpreter is to run on the other.

    Thread-safety: safe on shared objects.
    """
    if isinstance(kind, str) and "://" in kind:
        raise StoreUnavailable(
            f"there is no store for {kind!r} in this version: known kinds are 'auto', 'shared' and 'managed'"
        )
    # Only the one kind has names, whatever the interpreter.
    decision = decide_store("managed" if name is not None and kind == "auto" else kind)
    if max_bytes is not None and sizeof is None and not decision.forced:
        raise ValueError(
            "max_bytes needs sizeof=, since kind 'auto' may choose the shared-state store: pass sizeof=sys.getsizeof, "
            "or choose a kind"
        )
    if decision.kind == "shared":
        if name is not None:
            raise ValueError(f"a shared-state store has no name ({name!r}): use open_store('managed', name={name!r})")
        return SharedStateStore(
            max_bytes=max_bytes, max_entries=max_entries, on_full=on_full, sizeof=sizeof, decision=decision
        )
    return _managed_class()(
        name,
        max_bytes=1 << 30 if max_bytes is None else max_bytes,
        max_entries=max_entries,
        on_full=on_full,
        pickle=pickle,
        decision=decision,
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
