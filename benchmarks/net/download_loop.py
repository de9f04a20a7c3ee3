"""One download in a process of its own: ``download_loop.py PEER URL WARM_UP_URL PATH`` prints CPU ms, wall ms, and by
how many KiB the peak of the memory grew.

The CPU is the whole process's, all threads; importing, connecting and a small download are not counted.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable

Download = Callable[[str, str], object]


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


DOWNLOAD = {"offgil": offgil_download, "pyreqwest": pyreqwest_download, "httpx": httpx_download}


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_kib() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))


def main() -> None:
    peer, url, warm_up_url, path = sys.argv[1:5]
    try:
        download = DOWNLOAD[peer]()
    except ImportError:
        print("not installed")
        return
    download(warm_up_url, path)
    peak, cpu, wall = peak_kib(), cpu_seconds(), time.perf_counter()
    download(url, path)
    print((cpu_seconds() - cpu) * 1e3, (time.perf_counter() - wall) * 1e3, peak_kib() - peak)
    assert os.path.getsize(path) == 1 << 30


main()
