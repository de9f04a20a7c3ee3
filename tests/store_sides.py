"""What the tests of stores have in common: who is on the other side, and how to know that it waits."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from offgil import ResultStore

Join = Callable[[], Any]
MakeStore = Callable[..., ResultStore]


def until(condition: Callable[[], bool], what: str = "the condition") -> None:
    # Generous: it only turns what never comes into a failure instead of a hang.
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit, f"{what} did not come"
        time.sleep(0.001)


def until_parked(store: ResultStore, count: int = 1) -> None:
    until(lambda: store.stats().waiters >= count, f"{count} parked waiters")


def until_blocked(store: ResultStore, count: int = 1) -> None:
    until(lambda: store.stats().blocked >= count, f"{count} blocked puts")


def in_background(fn: Callable[[], object]) -> Join:
    """Starts a thread; the function that is returned waits for its result or its exception."""
    outcome: list[object] = []

    def work() -> None:
        try:
            outcome.append(fn())
        except BaseException as exc:
            outcome.append(exc)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def join() -> object:
        thread.join(60)
        assert outcome, "the call is still waiting"
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    return join


class Threads:
    """The other side is a thread of this process."""

    def start(self, function: Callable[..., object], store: ResultStore, *args: object) -> Join:
        return in_background(lambda: function(store, *args))


class Processes:
    """The other side is a process, which knows the store by having been sent it."""

    def start(self, function: Callable[..., object], store: ResultStore, *args: object) -> Join:
        # Not fork: this process has threads.  forkserver is the cheapest of the rest.
        context = multiprocessing.get_context("forkserver")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, function, store, args), daemon=True)
        process.start()
        theirs.close()

        def join() -> object:
            assert ours.poll(60), "the call is still waiting"
            result = ours.recv()
            process.join(60)
            ours.close()
            if isinstance(result, BaseException):
                raise result
            return result

        return join


def _work(pipe: Connection, function: Callable[..., object], store: ResultStore, args: tuple[object, ...]) -> None:
    try:
        result = function(store, *args)
    except BaseException as exc:
        result = exc
    pipe.send(result)
