"""Which event loop runs here: asyncio's, or trio's."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from offgil import _core
from offgil.async_port import AsyncioPort, Port
from offgil.errors import NoEventLoop

__all__ = ["close_core", "current_loop", "open_port"]


def current_loop() -> object:
    """Return the running loop of asyncio, or the token of the running trio.

    Raises:
        NoEventLoop: neither runs.
    """
    if (trio := _trio()) is not None:
        return trio.lowlevel.current_trio_token()
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise NoEventLoop("an asynchronous transport needs a running event loop, of asyncio or of trio") from None


def open_port(core: _core.Client, stream_type: type[_core.AsyncStream]) -> Port:
    """Return a new port of the current loop."""
    if _trio() is None:
        return AsyncioPort(core, stream_type, asyncio.get_running_loop())
    from offgil.trio_port import TrioPort

    return TrioPort(core, stream_type)


async def close_core(core: _core.Client) -> None:
    """Close a client elsewhere: libcurl may have to wait for a name look-up that hangs."""
    if (trio := _trio()) is not None:
        await trio.to_thread.run_sync(core.close)
    else:
        await asyncio.get_running_loop().run_in_executor(None, core.close)


def _trio() -> Any:
    """The module, if a task of its runs here.  Asked first: trio may be a guest of asyncio."""
    trio = sys.modules.get("trio")
    if trio is None:
        return None
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return None
    return trio
