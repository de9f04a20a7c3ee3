"""HTTP from asyncio, off the GIL and off the event loop."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self, Unpack, cast
import weakref

from offgil.async_port import Port
from offgil.async_stream import AsyncStreamResponse
from offgil.client_base import BaseClient
from offgil.request import Encoded, RequestOptions
from offgil.response import Response

__all__ = ["AsyncClient"]


class AsyncClient(BaseClient):
    def __init__(self, **configuration: Any) -> None:
        super().__init__(**configuration)
        self._ports: dict[asyncio.AbstractEventLoop, Port] = {}
        weakref.finalize(self, self._core.close)

    def _port(self) -> Port:
        loop = asyncio.get_running_loop()
        port = self._ports.get(loop)
        if port is None:
            port = self._ports[loop] = Port(self._core, loop, AsyncStreamResponse)
        return port

    async def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Response:
        return await self._send(self._encode(method, url, **options))

    async def get(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        return await self.request("GET", url, **options)

    async def _send(self, encoded: Encoded) -> Response:
        return cast(Response, await self._port().run(encoded, False))

    async def aclose(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._core.close)
