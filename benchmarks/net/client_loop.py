"""One measurement in a process of its own: ``client_loop.py PEER get|map URL COUNT THREADS`` prints CPU and
wall µs a request.

The CPU is the whole process's, all threads; importing, connecting and a warm-up are not counted.
"""

from __future__ import annotations

import asyncio
import io
import resource
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

Work = Callable[[int], None]


def get_loop(client: Any, url: str) -> Callable[[], Work]:
    """For clients that all threads share, and that look alike."""

    def work(count: int) -> None:
        for _ in range(count):
            response = client.get(url)
            assert response.status_code == 200
            assert len(response.content) == 1024

    return lambda: work


def offgil_get(url: str) -> Callable[[], Work]:
    import offgil

    return get_loop(offgil.Client(), url)


def offgil_map(url: str) -> Callable[[], Work]:
    import offgil

    client = offgil.Client()

    def work(count: int) -> None:
        for response in client.map((url for _ in range(count)), concurrency=64):
            assert isinstance(response, offgil.Response)
            assert len(response.content) == 1024

    return lambda: work


def httpx_get(url: str) -> Callable[[], Work]:
    import httpx

    return get_loop(httpx.Client(), url)


def httpx_map(url: str) -> Callable[[], Work]:
    import httpx

    async def run(count: int) -> None:
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=64)) as client:
            left = iter(range(count))

            async def worker() -> None:
                for _ in left:
                    response = await client.get(url)
                    assert len(response.content) == 1024

            await asyncio.gather(*(worker() for _ in range(64)))

    return lambda: lambda count: asyncio.run(run(count))


def pycurl_get(url: str) -> Callable[[], Work]:
    import pycurl

    def make() -> Work:
        handle = pycurl.Curl()  # a handle belongs to one thread

        def work(count: int) -> None:
            for _ in range(count):
                body = io.BytesIO()
                handle.reset()
                handle.setopt(pycurl.URL, url)
                handle.setopt(pycurl.NOSIGNAL, 1)
                handle.setopt(pycurl.WRITEDATA, body)
                handle.perform()
                assert handle.getinfo(pycurl.RESPONSE_CODE) == 200
                assert len(body.getvalue()) == 1024

        return work

    return make


def primp_get(url: str) -> Callable[[], Work]:
    import primp

    return get_loop(primp.Client(), url)


GET = {"offgil": offgil_get, "httpx": httpx_get, "pycurl": pycurl_get, "primp": primp_get}
MAP = {"offgil": offgil_map, "httpx": httpx_map}


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    peer, kind, url = sys.argv[1:4]
    count, threads = int(sys.argv[4]), int(sys.argv[5])
    try:
        make = (GET if kind == "get" else MAP)[peer](url)
    except ImportError:
        print("not installed")
        return
    works = [make() for _ in range(threads)]
    share = count // threads
    barrier = threading.Barrier(threads + 1)

    def body(work: Work) -> None:
        work(min(share, 50))
        barrier.wait()
        work(share)

    runners = [threading.Thread(target=body, args=(work,)) for work in works]
    for runner in runners:
        runner.start()
    barrier.wait()
    cpu, wall = cpu_seconds(), time.perf_counter()
    for runner in runners:
        runner.join()
    cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
    print(cpu / (share * threads) * 1e6, wall / (share * threads) * 1e6)


main()
