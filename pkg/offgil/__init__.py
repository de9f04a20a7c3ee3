"""Network calls off the GIL, and their results where they are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

from offgil import errors
from offgil._core import CancelToken
from offgil.async_client import AsyncClient
from offgil.async_stream import AsyncStreamResponse
from offgil.client import Batch, Client
from offgil.download import Download
from offgil.errors import *  # noqa: F403  (errors.__all__ is the list, kept in one place)
from offgil.executor import Executor, ExecutorStats, TaskReport
from offgil.headers import Headers
from offgil.hooks import Attempt, Hook
from offgil.request import Request
from offgil.response import Response
from offgil.retry import Retry
from offgil.sse import ServerSentEvent
from offgil.stats import ClientStats, Timings
from offgil.store import Entry, ResultStore, SharedStateStore, StoreStats, open_store
from offgil.stream import StreamResponse
from offgil.timeouts import Timeout

if TYPE_CHECKING:
    from offgil.store import ManagedDictStore

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


def __getattr__(name: str) -> Any:
    # Imported at first use: what it needs is only there on Linux.
    if name == "ManagedDictStore":
        from offgil.store import ManagedDictStore

        return ManagedDictStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
