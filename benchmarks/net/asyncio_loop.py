"""One measurement in a process of its own: ``asyncio_loop.py PEER URL COUNT IN_FLIGHT`` prints CPU and wall µs a request.

So many tasks share a client and a number of requests.  The CPU is the whole process's, all threads; importing,
connecting and a warm-up are not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

# Makes one request and returns the status and the body.
Get = Callable[[str], Awaitable[tuple[int, bytes]]]


@contextlib.asynccontextmanager
async def offgil() -> AsyncIterator[Get]:
    import offgil

    async with offgil.AsyncClient() as client:

        async def get(url: str) -> tuple[int, bytes]:
            response = await client.get(url)
            return response.status_code, response.content

        yield get


@contextlib.asynccontextmanager
async def httpx(most: int) -> AsyncIterator[Get]:
    import httpx

    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=most, max_keepalive_connections=most)) as client:

        async def get(url: str) -> tuple[int, bytes]:
            response = await client.get(url)
            return response.status_code, response.content

        yield get


@contextlib.asynccontextmanager
async def aiohttp(most: int) -> AsyncIterator[Get]:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=most)) as session:

        async def get(url: str) -> tuple[int, bytes]:
            async with session.get(url) as response:
                return response.status, await response.read()

        yield get


@contextlib.asynccontextmanager
async def wreq() -> AsyncIterator[Get]:
    import wreq

    client = wreq.Client()

    async def get(url: str) -> tuple[int, bytes]:
        response = await client.get(url)
        return response.status.as_int(), await response.bytes()

    yield get


@contextlib.asynccontextmanager
async def pyreqwest() -> AsyncIterator[Get]:
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().build() as client:

        async def get(url: str) -> tuple[int, bytes]:
            response = await client.get(url).build().send()
            return response.status, bytes(await response.bytes())

        yield get


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def in_tasks(get: Get, url: str, count: int, tasks: int) -> None:
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            status, body = await get(url)
            assert status == 200
            assert len(body) == 1024

    await asyncio.gather(*(work() for _ in range(tasks)))


async def in_map(url: str, counts: tuple[int, int], concurrency: int) -> AsyncIterator[None]:
    import offgil

    async with offgil.AsyncClient() as client:
        for count in counts:
            async for response in client.map((url for _ in range(count)), concurrency=concurrency):
                assert isinstance(response, offgil.Response)
                assert len(response.content) == 1024
            yield


async def rounds(peer: str, url: str, counts: tuple[int, int], tasks: int) -> AsyncIterator[None]:
    """Sends each number of requests, with the same client."""
    if peer == "offgil map":
        async for _ in in_map(url, counts, tasks):
            yield
        return
    bounded = {"httpx": httpx, "aiohttp": aiohttp}
    plain = {"offgil": offgil, "wreq": wreq, "pyreqwest": pyreqwest}
    async with bounded[peer](tasks) if peer in bounded else plain[peer]() as get:
        for count in counts:
            await in_tasks(get, url, count, tasks)
            yield


async def main() -> None:
    peer, url = sys.argv[1:3]
    count, tasks = int(sys.argv[3]), int(sys.argv[4])
    measured = rounds(peer, url, (5 * tasks, count), tasks)
    try:
        await anext(measured)
    except ImportError:
        print("not installed")
        return
    cpu, wall = cpu_seconds(), time.perf_counter()
    await anext(measured)
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    await measured.aclose()
    print(cpu / count * 1e6, wall / count * 1e6)


asyncio.run(main())
