"""One measurement of a client of httpx or httpx2 over some transport, in a process of its own; see httpx.py."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import resource
import sys
import threading
import time
from pathlib import Path

# Or `import httpx` would find the benchmark of that name.
sys.path.remove(str(Path(__file__).resolve().parent))

from typing import Any

# As nginx sends them: the package's work grows with them.
HEADERS = [
    (b"Server", b"nginx/1.22.1"),
    (b"Date", b"Thu, 01 Jan 2026 00:00:00 GMT"),
    (b"Content-Type", b"text/plain"),
    (b"Content-Length", b"1024"),
    (b"Connection", b"keep-alive"),
]


def null(package: Any, asynchronous: bool) -> Any:
    """Answers without a network: what is left is the package's own work."""

    class Body(package.SyncByteStream, package.AsyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Any:
            yield b"x" * 1024

        async def __aiter__(self) -> Any:
            yield b"x" * 1024

    class Null(package.AsyncBaseTransport if asynchronous else package.BaseTransport):  # type: ignore[misc]
        def handle_request(self, _: Any) -> Any:
            return package.Response(200, headers=HEADERS, stream=Body(), extensions={"http_version": b"HTTP/1.1"})

        async def handle_async_request(self, request: Any) -> Any:
            return Null.handle_request(self, request)

    return Null()


def make(package: Any, transport: str, limits: Any, asynchronous: bool) -> Any:
    if transport == "null":
        return null(package, asynchronous)
    if transport == "pyreqwest":
        from pyreqwest.client import ClientBuilder, SyncClientBuilder
        from pyreqwest.compatibility.httpx import HttpxTransport, SyncHttpxTransport

        if asynchronous:
            return HttpxTransport(ClientBuilder().build(), close_client=True)
        return SyncHttpxTransport(SyncClientBuilder().build(), close_client=True)
    module = package if transport == "own" else importlib.import_module(f"offgil.adapters.{package.__name__}")
    return (module.AsyncHTTPTransport if asynchronous else module.HTTPTransport)(limits=limits)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def in_threads(client: Any, url: str, share: int, count: int) -> tuple[float, float]:
    """CPU and wall seconds of so many threads, each with its share of requests."""
    barrier = threading.Barrier(count + 1, timeout=30)

    def work() -> None:
        for times in (50, share):
            for _ in range(times):
                assert len(client.get(url).content) == 1024
            if times == 50:
                barrier.wait()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait()
    cpu, wall = cpu_seconds(), time.perf_counter()
    for thread in threads:
        thread.join()
    return cpu_seconds() - cpu, time.perf_counter() - wall


async def in_tasks(client: Any, url: str, share: int, count: int) -> tuple[float, float]:
    """The same of tasks."""

    async def work(times: int) -> None:
        for _ in range(times):
            assert len((await client.get(url)).content) == 1024

    await asyncio.gather(*(work(50) for _ in range(count)))
    cpu, wall = cpu_seconds(), time.perf_counter()
    await asyncio.gather(*(work(share) for _ in range(count)))
    return cpu_seconds() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package")
    parser.add_argument("transport")
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    parser.add_argument("kind", choices=("threads", "tasks"))
    parser.add_argument("concurrency", type=int)
    options = parser.parse_args()
    asynchronous = options.kind == "tasks"
    share = options.count // options.concurrency
    try:
        package = importlib.import_module(options.package)
        limits = package.Limits(max_connections=100, max_keepalive_connections=100)
        transport = make(package, options.transport, limits, asynchronous)
    except ImportError:
        print("not installed")
        return
    client = (package.AsyncClient if asynchronous else package.Client)(transport=transport)
    spent: Any = (in_tasks if asynchronous else in_threads)(client, options.url, share, options.concurrency)
    cpu, wall = asyncio.run(spent) if asynchronous else spent
    done = share * options.concurrency
    print(cpu / done * 1e6, wall / done * 1e6)


main()
