"""One measurement of a client of httpx or httpx2 over some transport, in a process of its own; see httpx.py."""

from __future__ import annotations

import argparse
import importlib
import resource
import sys
import threading
import time
from pathlib import Path

# Or `import httpx` would find the benchmark of that name.
sys.path.remove(str(Path(__file__).resolve().parent))

from typing import Any


def null(package: Any) -> Any:
    """Answers without a network: what is left is the package's own work."""

    class Body(package.SyncByteStream):  # type: ignore[misc]
        def __iter__(self) -> Any:
            yield b"x" * 1024

    class Null(package.BaseTransport):  # type: ignore[misc]
        def handle_request(self, _: Any) -> Any:
            headers = [(b"Content-Length", b"1024"), (b"Content-Type", b"text/plain"), (b"Server", b"none")]
            return package.Response(200, headers=headers, stream=Body(), extensions={"http_version": b"HTTP/1.1"})

    return Null()


def make(package: Any, transport: str, limits: Any) -> Any:
    if transport == "null":
        return null(package)
    if transport == "own":
        return package.HTTPTransport(limits=limits)
    if transport == "offgil":
        return importlib.import_module(f"offgil.adapters.{package.__name__}").HTTPTransport(limits=limits)
    from pyreqwest.client import SyncClientBuilder
    from pyreqwest.compatibility.httpx import SyncHttpxTransport

    return SyncHttpxTransport(SyncClientBuilder().build(), close_client=True)


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package")
    parser.add_argument("transport")
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    parser.add_argument("threads", type=int)
    options = parser.parse_args()
    try:
        package = importlib.import_module(options.package)
        limits = package.Limits(max_connections=100, max_keepalive_connections=100)
        client = package.Client(transport=make(package, options.transport, limits))
    except ImportError:
        print("not installed")
        return
    share = options.count // options.threads
    barrier = threading.Barrier(options.threads + 1, timeout=300)

    def work() -> None:
        for count in (50, share):
            for _ in range(count):
                assert len(client.get(options.url).content) == 1024
            if count == 50:
                barrier.wait()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(options.threads)]
    for thread in threads:
        thread.start()
    barrier.wait()
    cpu, wall = cpu_seconds(), time.perf_counter()
    for thread in threads:
        thread.join()
    done = share * options.threads
    print((cpu_seconds() - cpu) / done * 1e6, (time.perf_counter() - wall) / done * 1e6)


main()
