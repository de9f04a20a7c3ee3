"""Network calls off the GIL, and their results where they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from offgil import errors
from offgil.errors import *
from offgil.store import ResultStore, SharedStateStore, StoreStats, open_store

if TYPE_CHECKING:
    from offgil.store import ManagedDictStore

__version__ = "0.1.0"

__all__ = ["ManagedDictStore", "ResultStore", "SharedStateStore", "StoreStats", "open_store"]
__all__ += errors.__all__


def __getattr__(name: str) -> Any:
    # Imported at first use: what it needs is only there on Linux.
    if name == "ManagedDictStore":
        from offgil.store import ManagedDictStore

        return ManagedDictStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
