"""The executor beside its peers, in rounds that go through all of them in turn.

``python benchmarks/executor/run.py [--rounds N] [--only NAME]…`` in an environment that has offgil, numpy, loky, joblib
and free-threading; a peer that is missing is left out and named.  Prints the median of each, in microseconds a task.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import offgil

WORKERS = 2


def noop(value: Any = None) -> None:
    return None


def echo(value: Any) -> Any:
    return value


def total(array: Any) -> float:
    return float(array.sum())


def spin(rounds: int) -> int:
    value = 0
    for number in range(rounds):
        value = (value * 31 + number) % 1_000_003
    return value


# --- peers: each yields submit(fn, *args) -> something with .result() -------------------------------------------------


@contextmanager
def executor_of(make: Callable[[], Any]) -> Iterator[Callable[..., Any]]:
    with make() as executor:
        yield executor.submit


class _PoolResult:
    def __init__(self, result: Any) -> None:
        self.result = result.get


@contextmanager
def pool() -> Iterator[Callable[..., Any]]:
    with multiprocessing.Pool(WORKERS) as workers:
        yield lambda fn, *args: _PoolResult(workers.apply_async(fn, args))


@contextmanager
def loky() -> Iterator[Callable[..., Any]]:
    from loky import ProcessPoolExecutor as Loky

    executor = Loky(WORKERS)
    yield executor.submit
    executor.shutdown()


@contextmanager
def free_threading() -> Iterator[Callable[..., Any]]:
    import freethreading

    with freethreading.WorkerPoolExecutor(WORKERS) as executor:
        yield executor.submit


PROCESSES: dict[str, Callable[[], Any]] = {
    "offgil": lambda: executor_of(lambda: offgil.Executor(WORKERS, workers="processes")),
    "ProcessPoolExecutor": lambda: executor_of(lambda: ProcessPoolExecutor(WORKERS)),
    "multiprocessing.Pool": pool,
    "loky": loky,
}
THREADS: dict[str, Callable[[], Any]] = {
    "offgil": lambda: executor_of(lambda: offgil.Executor(WORKERS, workers="threads")),
    "ThreadPoolExecutor": lambda: executor_of(lambda: ThreadPoolExecutor(WORKERS)),
}
# It chooses threads or processes by itself.
(PROCESSES if offgil.runtime.interpreter().gil_enabled else THREADS)["free-threading"] = free_threading


# --- what is measured: each returns seconds a task --------------------------------------------------------------------


def many_noops(submit: Callable[..., Any]) -> float:
    count = 3000
    started = time.perf_counter()
    for future in [submit(noop, number) for number in range(count)]:
        future.result()
    return (time.perf_counter() - started) / count


def one_noop_at_a_time(submit: Callable[..., Any]) -> float:
    count = 500
    started = time.perf_counter()
    for number in range(count):
        submit(noop, number).result()
    return (time.perf_counter() - started) / count


def echo_of_1_mib(submit: Callable[..., Any]) -> float:
    data, count = os.urandom(1 << 20), 60
    started = time.perf_counter()
    for future in [submit(echo, data) for _ in range(count)]:
        assert len(future.result()) == 1 << 20
    return (time.perf_counter() - started) / count


def sum_of_8_mib(submit: Callable[..., Any]) -> float:
    import numpy as np

    array, count = np.ones(1 << 20), 20
    started = time.perf_counter()
    for future in [submit(total, array) for _ in range(count)]:
        assert future.result() == 1 << 20
    return (time.perf_counter() - started) / count


def joblib_sum_of_8_mib() -> float:
    import joblib
    import numpy as np

    array, count = np.ones(1 << 20), 20
    with joblib.Parallel(WORKERS, max_nbytes=1 << 20) as parallel:
        parallel(joblib.delayed(noop)() for _ in range(WORKERS))
        started = time.perf_counter()
        assert parallel(joblib.delayed(total)(array) for _ in range(count)) == [1 << 20] * count
        return (time.perf_counter() - started) / count


def start_up(make: Callable[[], Any]) -> float:
    started = time.perf_counter()
    with make() as submit:
        submit(noop).result()
        return time.perf_counter() - started


def speed_up(make: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of work on the caller, and with two workers."""
    count, rounds = 40, 200_000
    started = time.perf_counter()
    for _ in range(count):
        spin(rounds)
    alone = time.perf_counter() - started
    with make() as submit:
        [future.result() for future in [submit(noop) for _ in range(50)]]
        started = time.perf_counter()
        for future in [submit(spin, rounds) for _ in range(count)]:
            future.result()
        return alone, time.perf_counter() - started


Results = dict[tuple[str, str], list[float]]


def one_round(results: Results, wanted: Callable[[str], bool]) -> None:
    """Everything once, each peer right after the other."""

    def add(what: str, peer: str, measure: Callable[[], float]) -> None:
        if wanted(what):
            results.setdefault((what, peer), []).append(measure())

    def on(make: Callable[[], Any], measure: Callable[[Callable[..., Any]], float]) -> float:
        with make() as submit:
            measure(submit)  # workers are there, and memory was touched: what counts is how it goes on
            return measure(submit)

    for what, peers, measure in (
        ("no-op, processes", PROCESSES, many_noops),
        ("no-op one at a time, processes", PROCESSES, one_noop_at_a_time),
        ("1 MiB echo, processes", PROCESSES, echo_of_1_mib),
        ("8 MiB numpy sum, processes", PROCESSES, sum_of_8_mib),
        ("no-op, threads", THREADS, many_noops),
        ("no-op one at a time, threads", THREADS, one_noop_at_a_time),
    ):
        for peer, make in peers.items():
            add(what, peer, lambda make=make, measure=measure: on(make, measure))
    add("8 MiB numpy sum, processes", "joblib, memmap", joblib_sum_of_8_mib)
    for peer in ("offgil", "ProcessPoolExecutor"):
        add("start-up to first result", peer, lambda peer=peer: start_up(PROCESSES[peer]))
    for kind, peers in (("threads", THREADS), ("processes", PROCESSES)):
        if wanted("CPU-bound"):
            alone, together = speed_up(peers["offgil"])
            results.setdefault((f"CPU-bound on {WORKERS} {kind}, times one caller", "offgil"), []).append(
                alone / together * 1e-6
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="only rows with this in their name")
    options = parser.parse_args()
    for peer, module in (("loky", "loky"), ("free-threading", "freethreading"), ("joblib", "joblib")):
        if importlib.util.find_spec(module) is None:
            print(f"{peer} is not installed and left out")
            PROCESSES.pop(peer, None)
            THREADS.pop(peer, None)
    results: Results = {}
    for _ in range(options.rounds):
        one_round(results, lambda what: not options.only or any(text in what for text in options.only))
    print(offgil.runtime.interpreter(), f"load {os.getloadavg()[0]:.1f}")
    for (what, peer), seconds in results.items():
        ours = statistics.median(results[what, "offgil"])
        median = statistics.median(seconds)
        print(f"{what:42} {peer:22} {median * 1e6:12.1f}  {median / ours:6.2f}x")


if __name__ == "__main__":
    main()
