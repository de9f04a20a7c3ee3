"""One measurement in a process of its own: ``body_loop.py PEER get URL COUNT`` prints CPU and wall µs a request,
``body_loop.py PEER download URL PATH`` CPU and wall ms for it all, and by how many KiB the peak of the memory grew.

A peer of a name with "view" leaves the body in the peer's own buffer; the others make ``bytes`` of it.  The CPU is the
whole process's, all threads; importing, connecting and a warm-up are not counted.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

Get = Callable[[str], Any]
Download = Callable[[str, str], object]


def offgil_get() -> Get:
    import offgil

    client = offgil.Client()
    return lambda url: client.get(url).content


def offgil_view() -> Get:
    import offgil

    client = offgil.Client()
    return lambda url: memoryview(client.get(url))


def pyreqwest_view() -> Get:
    from pyreqwest.client import SyncClientBuilder

    client = SyncClientBuilder().build()
    return lambda url: client.get(url).build().send().bytes()


def pyreqwest_get() -> Get:
    view = pyreqwest_view()
    return lambda url: bytes(view(url))


def primp_get() -> Get:
    import primp

    client = primp.Client()
    return lambda url: client.get(url).content


def httpx_get() -> Get:
    import httpx

    client = httpx.Client()
    return lambda url: client.get(url).content


def offgil_download() -> Download:
    import offgil

    return offgil.Client().download


def pyreqwest_download() -> Download:
    from pyreqwest.client import SyncClientBuilder

    client = SyncClientBuilder().build()

    def download(url: str, path: str) -> None:
        with client.get(url).build_streamed() as response, open(path, "wb") as file:
            while (piece := response.body_reader.read_chunk()) is not None:
                file.write(piece)

    return download


def httpx_download() -> Download:
    import httpx

    client = httpx.Client()

    def download(url: str, path: str) -> None:
        with client.stream("GET", url) as response, open(path, "wb") as file:
            for piece in response.iter_bytes():
                file.write(piece)

    return download


GET = {
    "offgil": offgil_get,
    "pyreqwest": pyreqwest_get,
    "primp": primp_get,
    "httpx": httpx_get,
    "offgil view": offgil_view,
    "pyreqwest view": pyreqwest_view,
}
DOWNLOAD = {"offgil": offgil_download, "pyreqwest": pyreqwest_download, "httpx": httpx_download}


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_kib() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def main() -> None:
    peer, kind, url, argument = sys.argv[1:5]
    try:
        if kind == "get":
            get, count = GET[peer](), int(argument)
            for _ in range(50):
                assert len(get(url)) == 1 << 20
            cpu, wall = cpu_seconds(), time.perf_counter()
            for _ in range(count):
                get(url)
            print((cpu_seconds() - cpu) / count * 1e6, (time.perf_counter() - wall) / count * 1e6)
        else:
            download = DOWNLOAD[peer]()
            download(url.replace("gib", "mib"), argument)
            peak, cpu, wall = peak_kib(), cpu_seconds(), time.perf_counter()
            download(url, argument)
            print((cpu_seconds() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3, peak_kib() - peak)
            assert os.path.getsize(argument) == 1 << 30
    except ImportError:
        print("not installed")


main()
