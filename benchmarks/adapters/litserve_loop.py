"""One measurement of litserve_stream.py: ``litserve_loop.py PEER SCENARIO``; prints its figures."""

from __future__ import annotations

import asyncio
import importlib.util
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TOKEN = 8  # bytes
STREAMS = {"1 stream": (1, 1, 10_000), "8 streams, 2 workers": (8, 2, 1_250)}  # clients, workers, tokens each
FIRST_TOKENS = 300
MESSAGES = 20_000


@contextmanager
def server(peer: str, workers: int) -> Iterator[tuple[Any, int]]:
    """A client of a server with that transport, and the process group that the server is."""
    import offgil

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, HERE / "litserve_server.py", peer, str(port), str(workers)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        with offgil.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while process.poll() is None:
                try:
                    if client.get("/health").is_success:
                        break
                except offgil.TransportError:
                    pass
                time.sleep(0.05)
            yield client, process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def cpu_of_group(group: int) -> float:
    """Seconds that the group's processes have worked, with those of their children that have ended."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group:
                ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def stream(client: Any, tokens: int) -> float:
    """Read a stream to its end; seconds to its first token."""
    started = time.perf_counter()
    with client.stream("POST", "/predict", json={"tokens": tokens}) as response:
        chunks = response.iter_bytes()
        received = len(next(chunks))
        first = time.perf_counter() - started
        received += sum(map(len, chunks))
    assert received == tokens * TOKEN, received
    return first


def streams(peer: str, clients: int, workers: int, tokens: int) -> tuple[float, float]:
    """CPU and wall µs a token."""
    with server(peer, workers) as (client, group):
        for _ in range(4):
            stream(client, 200)
        cpu, before = cpu_of_group(group), time.perf_counter()
        threads = [threading.Thread(target=stream, args=(client, tokens)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wall = time.perf_counter() - before
        return tuple(1e6 * spent / (clients * tokens) for spent in (cpu_of_group(group) - cpu, wall))


def first_token(peer: str) -> tuple[float, float]:
    """CPU µs a request of one token, and the median of µs to it."""
    with server(peer, 1) as (client, group):
        for _ in range(50):
            stream(client, 1)
        cpu = cpu_of_group(group)
        times = [stream(client, 1) for _ in range(FIRST_TOKENS)]
        return 1e6 * (cpu_of_group(group) - cpu) / FIRST_TOKENS, 1e6 * statistics.median(times)


def send_all(transport: Any, item: Any, count: int, go: Any) -> None:
    transport.send(item, 0)
    go.wait()
    for _ in range(count):
        transport.send(item, 0)


def transport_alone(peer: str) -> tuple[float, float]:
    """CPU and wall µs a message from one process to the event loop of another."""
    import litserve_server
    from litserve.utils import LoopResponseType

    transport = litserve_server.TRANSPORTS[peer](1)
    item = ("0b6c8a06-7a16-4d12-a7fb-dd1f9a5cfe4c", ("0000000 ", "OK", LoopResponseType.STREAMING, 0))
    context = multiprocessing.get_context("spawn")
    go = context.Event()
    sender = context.Process(target=send_all, args=(transport, item, MESSAGES, go))

    async def main() -> tuple[float, float]:
        while await transport.areceive(0) is None:
            pass  # the sender starts
        cpu, before = cpu_of_group(os.getpgrp()), time.perf_counter()
        go.set()
        received = 0
        while received < MESSAGES:
            received += await transport.areceive(0) is not None
        wall = time.perf_counter() - before
        return cpu_of_group(os.getpgrp()) - cpu, wall

    run = asyncio.run
    if importlib.util.find_spec("uvloop") is not None:
        from uvloop import run  # what uvicorn takes, too
    sender.start()
    cpu, wall = run(main())
    sender.join()
    return 1e6 * cpu / MESSAGES, 1e6 * wall / MESSAGES


def main() -> None:
    peer, scenario = sys.argv[1:]
    if importlib.util.find_spec("litserve") is None:
        print("not installed")
        return
    if scenario == "transport alone":
        os.setpgrp()
        print(*transport_alone(peer))
    elif scenario == "first token":
        print(*first_token(peer))
    else:
        print(*streams(peer, *STREAMS[scenario]))


if __name__ == "__main__":
    main()
