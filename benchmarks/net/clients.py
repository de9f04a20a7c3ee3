"""The clients that the network benchmark compares: each as blocking calls, ``map`` or asyncio tasks.

A maker returns what one thread runs, ``work(count)``.  What threads share, a client, is made by the function around it.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Work = Callable[[int], None]
Make = Callable[[], Work]


@dataclass(frozen=True)
class Target:
    """What is asked for, and how."""

    url: str
    size: int  # bytes of the answer's body
    tasks: int = 64  # in flight at once, for map and asyncio
    ca: str | None = None
    http2: bool = False

    def check(self, status: int, body: bytes | memoryview) -> None:
        assert status == 200
        assert len(body) == self.size


def shared(client: Any, target: Target) -> Make:
    """For clients that all threads share, and that look like httpx's."""

    def work(count: int) -> None:
        for _ in range(count):
            response = client.get(target.url)
            target.check(response.status_code, response.content)

    return lambda: work


def in_tasks(target: Target, get: Callable[[], Awaitable[None]]) -> Callable[[int], Awaitable[None]]:
    """``target.tasks`` tasks, each of which asks as soon as it has its answer."""

    async def run(count: int) -> None:
        left = iter(range(count))

        async def worker() -> None:
            for _ in left:
                await get()

        await asyncio.gather(*(worker() for _ in range(target.tasks)))

    return run


def asyncio_loop(
    target: Target, open_client: Callable[[], Any], read: Callable[[Any], Awaitable[tuple[int, bytes]]]
) -> Make:
    """One event loop and one client for the warm-up and the measurement."""
    loop = asyncio.new_event_loop()
    clients: list[Any] = []

    async def enter() -> None:
        clients.append(await open_client().__aenter__())

    async def get() -> None:
        target.check(*await read(clients[0]))

    def work(count: int) -> None:
        if not clients:
            loop.run_until_complete(enter())
        loop.run_until_complete(in_tasks(target, get)(count))

    return lambda: work


def context(target: Target) -> ssl.SSLContext | bool:
    return True if target.ca is None else ssl.create_default_context(cafile=target.ca)


# ---- offgil ----


def offgil_get(target: Target) -> Make:
    import offgil

    return shared(offgil.Client(verify=target.ca or True, http2=target.http2), target)


def offgil_view_get(target: Target) -> Make:
    """The body in the block that it was received in, as in pyreqwest's."""
    import offgil

    client = offgil.Client(verify=target.ca or True)

    def work(count: int) -> None:
        for _ in range(count):
            response = client.get(target.url)
            target.check(response.status_code, memoryview(response))

    return lambda: work


def offgil_map(target: Target) -> Make:
    import offgil

    client = offgil.Client(verify=target.ca or True, http2=target.http2)

    def work(count: int) -> None:
        for response in client.map((target.url for _ in range(count)), concurrency=target.tasks):
            assert isinstance(response, offgil.Response)
            target.check(response.status_code, response.content)

    return lambda: work


def offgil_async(target: Target) -> Make:
    import offgil

    async def read(client: Any) -> tuple[int, bytes]:
        response = await client.get(target.url)
        return response.status_code, response.content

    return asyncio_loop(target, offgil.AsyncClient, read)


def offgil_async_map(target: Target) -> Make:
    import offgil

    async def run(count: int) -> None:
        async with offgil.AsyncClient() as client:
            async for response in client.map((target.url for _ in range(count)), concurrency=target.tasks):
                assert isinstance(response, offgil.Response)
                target.check(response.status_code, response.content)

    return lambda: lambda count: asyncio.run(run(count))


# ---- peers ----


def httpx_get(target: Target) -> Make:
    import httpx

    return shared(httpx.Client(verify=context(target), http2=target.http2), target)


def httpx_async(target: Target) -> Make:
    import httpx

    async def read(client: Any) -> tuple[int, bytes]:
        response = await client.get(target.url)
        return response.status_code, response.content

    return asyncio_loop(
        target, lambda: httpx.AsyncClient(limits=httpx.Limits(max_connections=target.tasks), timeout=60), read
    )


def httpx2_get(target: Target) -> Make:
    import httpx2

    return shared(httpx2.Client(verify=context(target), http2=target.http2), target)


def pycurl_get(target: Target) -> Make:
    import pycurl

    def make() -> Work:
        handle = pycurl.Curl()  # a handle belongs to one thread

        def work(count: int) -> None:
            for _ in range(count):
                body = io.BytesIO()
                handle.reset()
                handle.setopt(pycurl.URL, target.url)
                handle.setopt(pycurl.NOSIGNAL, 1)
                handle.setopt(pycurl.WRITEDATA, body)
                if target.ca is not None:
                    handle.setopt(pycurl.CAINFO, target.ca)
                handle.perform()
                target.check(handle.getinfo(pycurl.RESPONSE_CODE), body.getvalue())

        return work

    return make


def primp_get(target: Target) -> Make:
    import primp

    return shared(primp.Client(), target)


def pyreqwest_get(target: Target) -> Make:
    from pyreqwest.client import SyncClientBuilder

    builder = SyncClientBuilder().http2(target.http2)
    if target.ca is not None:
        builder = builder.add_root_certificate_pem(Path(target.ca).read_bytes())
    client = builder.build()

    def work(count: int) -> None:
        for _ in range(count):
            response = client.get(target.url).build().send()
            target.check(response.status, response.bytes())

    return lambda: work


def pyreqwest_async(target: Target) -> Make:
    from pyreqwest.client import ClientBuilder

    async def read(client: Any) -> tuple[int, bytes]:
        response = await client.get(target.url).build().send()
        return response.status, await response.bytes()

    return asyncio_loop(target, lambda: ClientBuilder().build(), read)


def wreq_get(target: Target) -> Make:
    from wreq.blocking import Client

    client = Client()

    def work(count: int) -> None:
        for _ in range(count):
            response = client.get(target.url)
            target.check(response.status.as_int(), response.bytes())

    return lambda: work


def wreq_async(target: Target) -> Make:
    from wreq import Client

    async def read(client: Any) -> tuple[int, bytes]:
        response = await client.get(target.url)
        return response.status.as_int(), await response.bytes()

    return asyncio_loop(target, Client, read)


def aiohttp_async(target: Target) -> Make:
    import aiohttp

    async def read(client: Any) -> tuple[int, bytes]:
        async with client.get(target.url) as response:
            return response.status, await response.read()

    return asyncio_loop(target, lambda: aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=target.tasks)), read)


MAKERS: dict[str, dict[str, Callable[[Target], Make]]] = {
    "get": {
        "offgil": offgil_get,
        "offgil, memoryview": offgil_view_get,
        "primp": primp_get,
        "pycurl": pycurl_get,
        "pyreqwest": pyreqwest_get,
        "wreq": wreq_get,
        "httpx": httpx_get,
        "httpx2": httpx2_get,
    },
    "map": {"offgil": offgil_map, "offgil, async": offgil_async_map},
    "asyncio": {
        "offgil": offgil_async,
        "wreq": wreq_async,
        "pyreqwest": pyreqwest_async,
        "aiohttp": aiohttp_async,
        "httpx": httpx_async,
    },
}
