"""Network calls off the GIL, and their results where they are needed."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

from offgil import errors
from offgil.errors import *  # noqa: F403  (errors.__all__ is the list, kept in one place)
from offgil.executor import Executor, ExecutorStats, TaskReport

if TYPE_CHECKING:
    from offgil._core import CancelToken
    from offgil.async_client import AsyncClient
    from offgil.async_stream import AsyncStreamResponse
    from offgil.client import Batch, Client
    from offgil.download import Download
    from offgil.headers import Headers
    from offgil.hooks import Attempt, Hook
    from offgil.request import Request
    from offgil.response import Response
    from offgil.retry import Retry
    from offgil.sse import ServerSentEvent
    from offgil.stats import ClientStats, Timings
    from offgil.store import Entry, ManagedDictStore, ResultStore, SharedStateStore, StoreStats, open_store
    from offgil.stream import StreamResponse
    from offgil.timeouts import Timeout

__all__ = [
    "AsyncClient",
    "AsyncStreamResponse",
    "Attempt",
    "Batch",
    "CancelToken",
    "Client",
    "ClientStats",
    "Download",
    "Entry",
    "Executor",
    "ExecutorStats",
    "Headers",
    "Hook",
    "ManagedDictStore",
    "Request",
    "Response",
    "ResultStore",
    "Retry",
    "ServerSentEvent",
    "SharedStateStore",
    "StoreStats",
    "StreamResponse",
    "TaskReport",
    "Timeout",
    "Timings",
    "open_store",
]
__all__ += errors.__all__


# Imported at first use: a worker process, which imports this package to run its first task, needs none of them, and
# they take longer than all else that it does until then.  And what ManagedDictStore needs is only there on Linux.
_HOMES = {
    "_core": ("CancelToken",),
    "async_client": ("AsyncClient",),
    "async_stream": ("AsyncStreamResponse",),
    "client": ("Batch", "Client"),
    "download": ("Download",),
    "headers": ("Headers",),
    "hooks": ("Attempt", "Hook"),
    "request": ("Request",),
    "response": ("Response",),
    "retry": ("Retry",),
    "sse": ("ServerSentEvent",),
    "stats": ("ClientStats", "Timings"),
    "store": ("Entry", "ManagedDictStore", "ResultStore", "SharedStateStore", "StoreStats", "open_store"),
    "stream": ("StreamResponse",),
    "timeouts": ("Timeout",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return importlib.import_module(f"offgil.{name}")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"offgil.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
