"""One figure of one peer, in a process of its own; benchmarks/store/managed.py runs ``managed_loop.py SCENARIO PEER``.

Prints a number, or ``left out: REASON`` where the peer cannot run here.
"""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from managed_peers import CHANNELS, TABLES, LmdbTable, OffgilTable, context

SECONDS = 0.3
MIB = 1 << 20


def each(operation: Callable[[], object], seconds: float = SECONDS) -> float:
    """Median microseconds of an operation over many short runs."""
    operation()
    count, figures, end = 1, [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(figures) < 3:
        start = time.perf_counter()
        for _ in range(count):
            operation()
        elapsed = time.perf_counter() - start
        if elapsed < 0.01:
            count *= 2
        else:
            figures.append(elapsed / count * 1e6)
    return statistics.median(figures)


def put_get(peer: str) -> float:
    table, data = TABLES[peer](), b"x" * 100

    def both() -> None:
        table.put("key", data)
        table.get("key")

    return each(both)


def one_way(peer: str, size: int) -> float:
    """Median microseconds from send() to the return of recv() in a process that sleeps."""
    channel, data = CHANNELS[peer](size), os.urandom(size)
    connect = getattr(channel, "connect", lambda sends: None)
    rounds = 150 if size < MIB else 40
    sent, taken = context.RawArray("q", rounds), context.RawArray("q", rounds)
    ready = context.Semaphore(0)

    def receive() -> None:
        connect(False)
        ready.release()
        for i in range(rounds):
            got = channel.recv()
            taken[i] = time.monotonic_ns()
            del got
            ready.release()
        os._exit(0)

    child = context.Process(target=receive)
    child.start()
    connect(True)
    for i in range(rounds):
        ready.acquire()
        time.sleep(0.002)  # the receiver is asleep again
        sent[i] = time.monotonic_ns()
        channel.send(data)
    child.join()
    getattr(channel, "close", lambda: None)()
    return statistics.median(b - a for a, b in zip(sent, taken, strict=True)) / 1e3


def copied(peer: str) -> float:
    data = os.urandom(MIB)
    if peer.startswith("memcpy"):
        # A store never writes over what it has published, so that its puts go to two places in turn.
        targets = [memoryview(bytearray(MIB)) for _ in range(2 if peer == "memcpy, 2 targets in turn" else 1)]

        def copy() -> None:
            targets[0][:] = data
            targets.reverse()

        return each(copy)
    store = OffgilTable().store
    store["key"] = data
    if peer == "offgil put":
        return each(lambda: store.put("key", data))
    return each(lambda: store["key"])


def in_place(peer: str, size: int) -> float:
    import numpy as np

    if peer == "lmdb view":
        table = LmdbTable()
        table.put("key", bytes(size))
        return each(lambda: table.view("key"))
    store = OffgilTable().store
    if peer == "offgil view":
        store["key"] = bytes(size)
        return each(lambda: store.view("key"))
    if peer == "offgil array":
        store["key"] = np.zeros(size, "u1")
        return each(lambda: store["key"])

    def reserve() -> None:
        with store.reserve("key", size):
            pass

    return each(reserve)


def together(peer: str, writers: int, readers: int, threads: bool = False) -> float:
    """Operations a second of all, on 100 keys of 100 bytes."""
    table, data = TABLES[peer](), b"x" * 100
    keys = [f"key{i}" for i in range(100)]
    counts = context.RawArray("q", writers + readers)
    go, stop = context.Event(), context.RawValue("b", 0)

    def work(me: int) -> None:
        for key in keys:
            table.put(key, data)
        go.wait()
        done = 0
        while not stop.value:
            for key in keys:
                if me < writers:
                    table.put(key, data)
                else:
                    table.get(key)
            done += len(keys)
        counts[me] = done

    kind: Any = threading.Thread if threads else context.Process
    workers = [kind(target=work, args=(i,)) for i in range(writers + readers)]
    for worker in workers:
        worker.start()
    start = time.perf_counter()
    go.set()
    time.sleep(SECONDS)
    stop.value = 1
    elapsed = time.perf_counter() - start
    for worker in workers:
        worker.join()
    return sum(counts) / elapsed


def memory(peer: str) -> float:
    """Bytes of memory that an entry of 100 bytes takes, with a million of them."""
    from offgil.store.managed import ManagedDictStore

    store, data, count = ManagedDictStore(max_bytes=1 << 30), b"x" * 100, 1_000_000
    for i in range(count):
        store[f"key-{i:010}"] = data
    assert len(store) == count
    return os.fstat(store._table.fileno()).st_blocks * 512 / count


SCENARIOS: dict[str, Callable[[str], float]] = {
    "put + get, 100 B": put_get,
    "hand-off, 100 B": lambda peer: one_way(peer, 100),
    "hand-off, 10 KiB": lambda peer: one_way(peer, 10 * 1024),
    "hand-off, 1 MiB": lambda peer: one_way(peer, MIB),
    "hand-off, 8 MiB": lambda peer: one_way(peer, 8 * MIB),
    "1 MiB, copied": copied,
    "100 B, in place": lambda peer: in_place(peer, 100),
    "8 MiB, in place": lambda peer: in_place(peer, 8 * MIB),
    "4 writers": lambda peer: together(peer, 4, 0),
    "1 writer, 4 readers": lambda peer: together(peer, 1, 4),
    "4 writers, threads": lambda peer: together(peer, 4, 0, threads=True),
    "1 writer, 4 readers, threads": lambda peer: together(peer, 1, 4, threads=True),
    "a million entries of 100 B": memory,
}


def main() -> None:
    scenario, peer = sys.argv[1:]
    try:
        figure = f"{SCENARIOS[scenario](peer):.4g}"
    except ImportError as exc:
        figure = f"left out: {exc}"
    print(figure, flush=True)
    # Some peers leave threads behind that do not end.
    os._exit(0)


if __name__ == "__main__":
    main()
