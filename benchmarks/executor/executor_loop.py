"""One figure of one peer, in a process of its own; benchmarks/executor/run.py runs ``executor_loop.py SCENARIO PEER``.

Prints a number, microseconds a task unless the scenario says otherwise, or ``not installed``.
"""

from __future__ import annotations

import itertools
import mmap
import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import offgil

WORKERS = 2
MIB = 1 << 20
#: Tasks submitted whose results were not looked at: enough that no worker waits, and few enough that memory is reused.
IN_FLIGHT = 8

Submit = Callable[..., Any]


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
def executor_of(make: Callable[[], Any]) -> Iterator[Submit]:
    with make() as executor:
        yield executor.submit


class _PoolResult:
    def __init__(self, result: Any) -> None:
        self.result = result.get


@contextmanager
def pool() -> Iterator[Submit]:
    with multiprocessing.Pool(WORKERS) as workers:
        yield lambda fn, *args: _PoolResult(workers.apply_async(fn, args))


@contextmanager
def loky() -> Iterator[Submit]:
    from loky import ProcessPoolExecutor as Loky

    executor = Loky(WORKERS)
    yield executor.submit
    executor.shutdown()


@contextmanager
def free_threading() -> Iterator[Submit]:
    import freethreading

    with freethreading.WorkerPoolExecutor(WORKERS) as executor:
        yield executor.submit


def offgil_of(kind: Any, workers: int = WORKERS, context: str | None = None) -> Any:
    method = multiprocessing.get_context(context) if context else None
    return executor_of(lambda: offgil.Executor(workers, workers=kind, context=method))


def standard(workers: int = WORKERS, context: str | None = None) -> Any:
    return executor_of(lambda: ProcessPoolExecutor(workers, multiprocessing.get_context(context)))


def standard_threads(workers: int = WORKERS) -> Any:
    return executor_of(lambda: ThreadPoolExecutor(workers))


@contextmanager
def copies_alone() -> Iterator[Submit]:
    """The floor: one process that calls the function with a copy in shared memory, where results go, too."""
    areas = itertools.cycle([mmap.mmap(-1, 8 * MIB) for _ in range(IN_FLIGHT)])

    def through_memory(value: Any) -> Any:
        area = next(areas)
        if isinstance(value, bytes):
            area[: len(value)] = value
            return area[: len(value)]
        if not hasattr(value, "nbytes"):
            return value
        copy = type(value)(value.shape, value.dtype, area)
        copy[:] = value
        return copy

    def submit(fn: Callable[..., Any], *args: Any) -> Any:
        done: Future[Any] = Future()
        done.set_result(through_memory(fn(*map(through_memory, args))))
        return done

    yield submit


PEERS: dict[str, Callable[..., Any]] = {
    "copies alone": copies_alone,
    "offgil, processes": lambda *args: offgil_of("processes", *args),
    "offgil, threads": lambda *args: offgil_of("threads", *args),
    "ProcessPoolExecutor": standard,
    "ThreadPoolExecutor": standard_threads,
    "multiprocessing.Pool": pool,
    "loky": loky,
    "free-threading": free_threading,
}


# --- what is measured: each returns seconds a task --------------------------------------------------------------------


def at_once(submit: Submit, fn: Callable[..., Any], argument: Any, count: int) -> float:
    started = time.perf_counter()
    for future in [submit(fn, argument) for _ in range(count)]:
        future.result()
    return (time.perf_counter() - started) / count


def one_by_one(submit: Submit, fn: Callable[..., Any], argument: Any, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        submit(fn, argument).result()
    return (time.perf_counter() - started) / count


def in_flight(submit: Submit, fn: Callable[..., Any], arguments: list[Any]) -> float:
    """Results are dropped as they are read."""
    waiting: deque[Any] = deque()
    started = time.perf_counter()
    for argument in arguments:
        waiting.append(submit(fn, argument))
        if len(waiting) == IN_FLIGHT:
            waiting.popleft().result()
    while waiting:
        waiting.popleft().result()
    return (time.perf_counter() - started) / len(arguments)


def going(peer: str, measure: Callable[..., float], *args: Any) -> float:
    """How it goes on: workers are there, and memory was touched."""
    with PEERS[peer]() as submit:
        measure(submit, *args)
        return min(measure(submit, *args) for _ in range(2)) * 1e6


def bytes_echo(peer: str) -> float:
    return going(peer, in_flight, echo, [os.urandom(MIB)] * 100)


def numpy_sum(peer: str) -> float:
    import numpy as np

    # Each array is another one: joblib writes one that it knows only once.
    if peer != "joblib, memmap":
        return going(peer, in_flight, total, [np.ones(MIB) for _ in range(20)])
    import joblib

    with joblib.Parallel(WORKERS, max_nbytes=MIB) as parallel:
        parallel(joblib.delayed(noop)() for _ in range(WORKERS))
        best = float("inf")
        for _ in range(2):
            arrays = [np.ones(MIB) for _ in range(20)]
            started = time.perf_counter()
            assert parallel(joblib.delayed(total)(array) for array in arrays) == [MIB] * len(arrays)
            best = min(best, time.perf_counter() - started)
    return best / len(arrays) * 1e6


def start_up(peer: str, context: str) -> float:
    """Milliseconds from making the executor to the first result."""
    started = time.perf_counter()
    with PEERS[peer](WORKERS, context) as submit:
        submit(noop).result()
        return (time.perf_counter() - started) * 1e3


def speed_up(peer: str) -> float:
    """How many times as fast two workers are as one."""
    count, rounds = 24, 200_000
    seconds = []
    with PEERS[peer](1) as one, PEERS[peer](2) as two:
        for submit in (one, two):
            at_once(submit, spin, 1000, 50)
        for submit in (one, two, one, two):  # in turn, as the machine may change its pace
            seconds.append(at_once(submit, spin, rounds, count))
    return (seconds[0] + seconds[2]) / (seconds[1] + seconds[3])


SCENARIOS: dict[str, Callable[[str], float]] = {
    "no-op": lambda peer: going(peer, at_once, noop, None, 3000),
    "no-op, one by one": lambda peer: going(peer, one_by_one, noop, None, 500),
    "1 MiB bytes, echo": bytes_echo,
    "8 MiB numpy array, sum": numpy_sum,
    "start-up, fork": lambda peer: start_up(peer, "fork"),
    "start-up, forkserver": lambda peer: start_up(peer, "forkserver"),
    "start-up, spawn": lambda peer: start_up(peer, "spawn"),
    "2 workers / 1 worker, CPU-bound": speed_up,
}


def main() -> None:
    scenario, peer = sys.argv[1:]
    try:
        print(f"{SCENARIOS[scenario](peer):.5g}", flush=True)
    except ImportError:
        print("not installed", flush=True)
    # Some peers leave threads or processes behind that take their time; joblib leaves files that it removes.
    if not peer.startswith("joblib"):
        os._exit(0)


if __name__ == "__main__":
    main()
