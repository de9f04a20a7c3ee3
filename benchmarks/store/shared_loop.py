"""One peer, one scenario, in this process: prints figures separated by spaces, or "not installed".

    shared_loop.py PEER SCENARIO

The figures are nanoseconds an operation (map), microseconds (hand-off: p50 and p99), or milliseconds (many, async).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import queue
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

PAIRS = 200_000
HAND_OFFS = 1_000
MANY = 10_000


class LockedDict:
    """A dict under a lock, and a condition of it to wait for a key."""

    def __init__(self) -> None:
        self.dict: dict[str, Any] = {}
        self.condition = threading.Condition(threading.Lock())

    def __getitem__(self, key: str) -> Any:
        with self.condition:
            return self.dict[key]

    def __setitem__(self, key: str, value: Any) -> None:
        with self.condition:
            self.dict[key] = value

    def put(self, key: str, value: Any) -> None:
        with self.condition:
            self.dict[key] = value
            self.condition.notify_all()

    def pop(self, key: str) -> Any:
        with self.condition:
            while key not in self.dict:
                self.condition.wait()
            return self.dict.pop(key)


def make(peer: str) -> Any:
    if peer == "offgil":
        import offgil

        return offgil.open_store("shared")
    if peer == "cereggii":
        import cereggii

        return cereggii.AtomicDict()
    if peer == "ft_utils":
        from ft_utils.concurrency import ConcurrentDict

        return ConcurrentDict()
    return {} if peer == "dict" else LockedDict()


def in_threads(count: int, prepare: Callable[[int], Callable[[], None]]) -> float:
    """Seconds until all are done, from when all have prepared themselves."""
    barrier = threading.Barrier(count + 1)

    def run(me: int) -> None:
        body = prepare(me)
        barrier.wait()
        body()

    threads = [threading.Thread(target=run, args=(me,)) for me in range(count)]
    for thread in threads:
        thread.start()
    barrier.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def mapping(peer: str, threads: int) -> list[float]:
    store = make(peer)

    def prepare(me: int) -> Callable[[], None]:
        # Each thread makes its own keys: counting references to another thread's objects would be most of the time.
        keys = [f"key-{me}-{i}" for i in range(1000)]

        def body() -> None:
            mine = store  # a closure's cell has a lock without the GIL, which threads would contend for
            for _ in range(PAIRS // 1000):
                for key in keys:
                    mine[key] = key
                    mine[key]

        return body

    return [in_threads(threads, prepare) / (PAIRS * threads) * 1e9]


def hand_off(peer: str) -> list[float]:
    """From before the put to after the wake-up of a thread that was parked for it."""
    latencies: list[float] = []
    box: queue.SimpleQueue[float] = queue.SimpleQueue()
    store = make(peer) if peer in ("offgil", "condition") else None
    # Keys and futures are there before: making either is no part of handing over.
    keys = [f"k{number}" for number in range(HAND_OFFS)]
    futures: list[concurrent.futures.Future[float]] = [concurrent.futures.Future() for _ in range(HAND_OFFS)]

    def receive(number: int) -> float:
        if peer == "offgil":
            return store.pop(keys[number], timeout=None)  # type: ignore[union-attr]
        if peer == "condition":
            return store.pop(keys[number])  # type: ignore[union-attr]
        return box.get() if peer == "SimpleQueue" else futures[number].result()

    def body() -> None:
        for number in range(HAND_OFFS):
            sent = receive(number)
            latencies.append(time.perf_counter() - sent)

    thread = threading.Thread(target=body)
    thread.start()
    for number in range(HAND_OFFS):
        time.sleep(0.0003)  # by now it is parked
        now = time.perf_counter()
        if peer in ("offgil", "condition"):
            store.put(keys[number], now)  # type: ignore[union-attr]
        elif peer == "SimpleQueue":
            box.put(now)
        else:
            futures[number].set_result(now)
    thread.join()
    percentiles = statistics.quantiles(latencies, n=100)
    return [percentiles[49] * 1e6, percentiles[98] * 1e6]


def many(peer: str) -> list[float]:
    """One thread waits for all, another publishes them.

    From when there is nothing but the keys: offgil makes its waiters in as_completed(), and futures are made to be
    waited for.
    """
    keys = [f"k{i}" for i in range(MANY)]
    if peer == "offgil":
        import offgil  # noqa: F401  (not within the time)
    started = time.perf_counter()
    if peer == "offgil":
        store = make(peer)
        results = store.as_completed(keys)
        publisher = threading.Thread(target=lambda: [store.put(key, key) for key in keys])
    else:
        futures = {key: concurrent.futures.Future[str]() for key in keys}
        results = concurrent.futures.as_completed(futures.values())
        publisher = threading.Thread(target=lambda: [future.set_result(key) for key, future in futures.items()])
    publisher.start()
    received = sum(1 for _ in results)
    took = time.perf_counter() - started
    publisher.join()
    assert received == MANY
    return [took * 1e3]


def tasks(peer: str) -> list[float]:
    """As many tasks wait, and a thread publishes for all of them."""

    async def main() -> float:
        loop = asyncio.get_running_loop()
        if peer == "offgil":
            store = make(peer)
            waiting = [asyncio.create_task(store.wait_async(f"k{i}")) for i in range(MANY)]
            publish: Callable[[], object] = lambda: [store.put(f"k{i}", i) for i in range(MANY)]  # noqa: E731
        else:
            box: asyncio.Queue[int] = asyncio.Queue()
            waiting = [asyncio.create_task(box.get()) for _ in range(MANY)]
            publish = lambda: [loop.call_soon_threadsafe(box.put_nowait, i) for i in range(MANY)]  # noqa: E731
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        publisher = threading.Thread(target=publish)
        started = time.perf_counter()
        publisher.start()
        assert sum(await asyncio.gather(*waiting)) == sum(range(MANY))
        took = time.perf_counter() - started
        publisher.join()
        return took * 1e3

    return [asyncio.run(main())]


def main() -> None:
    peer, scenario = sys.argv[1:]
    kind, _, threads = scenario.partition(":")
    try:
        if kind == "map":
            figures = mapping(peer, int(threads))
        else:
            figures = {"hand-off": hand_off, "many": many, "async": tasks}[kind](peer)
    except ImportError:
        print("not installed")
        return
    print(*figures)


main()
