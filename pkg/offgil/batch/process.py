"""The user's own function in a batch: called with each request and its response, on an executor.

Requests and responses go to the workers as the JSON text that they are anyway, and are parsed there.  So the loop that
drives the transfers spends nothing on it, and what cannot be read or written as JSON concerns one line only.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from offgil.errors import BatchError
from offgil.executor import Executor

__all__ = ["Processed", "Processor", "load"]


class Processed(NamedTuple):
    """What became of one call."""

    tag: Any
    #: What the function returned, as JSON on one line.
    text: str
    #: Why there is nothing; empty if there is.
    error: str


class Processor:
    """Calls a function with each request and response.

    Args:
        target: ``"module:function"``, a function of two dicts: the request's line, and the ``response`` of its result's
            line.  The module is looked for in the current folder, too.
        limit: calls that may be under way before :attr:`full` is true.

    Raises:
        BatchError: there is no such function.

    Thread-safety: compatible.
    """

    def __init__(self, target: str, limit: int) -> None:
        load(target)
        self._target = target
        self._limit = limit
        self._done: queue.SimpleQueue[tuple[Any, Future[str]]] = queue.SimpleQueue()
        self._executor = Executor(initializer=_ignore_interrupts)
        #: Calls under way.
        self.pending = 0

    @property
    def decision(self) -> str:
        """Which workers, and why."""
        return str(self._executor.decision)

    @property
    def full(self) -> bool:
        """Whether more should not be submitted now."""
        return self.pending >= self._limit

    def submit(self, tag: Any, request: str, response: str) -> None:
        """Have a worker call the function; :meth:`done` gives back what became of it under ``tag``."""
        self.pending += 1
        future = self._executor.submit(_call, self._target, request, response)
        future.add_done_callback(lambda done: self._done.put((tag, done)))

    def done(self, timeout: float) -> list[Processed]:
        """The calls that have ended since; waits up to ``timeout`` seconds for one if there are none."""
        found: list[Processed] = []
        try:
            while True:
                tag, future = self._done.get(timeout=0 if found else timeout)
                self.pending -= 1
                found.append(_outcome(tag, future))
        except queue.Empty:
            return found

    def close(self) -> None:
        """End the workers; calls that have not begun are dropped."""
        self._executor.shutdown(cancel_futures=True)


def load(target: str) -> Callable[[Any, Any], Any]:
    """The function that ``"module:function"`` names.

    Raises:
        BatchError: there is none.
    """
    module, colon, name = target.partition(":")
    if not colon or not module or not name:
        raise BatchError(f"{target!r} is not like module:function")
    if os.getcwd() not in sys.path:
        # As with ``python -m``; whoever starts the command line as a script has its folder there instead.
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as exc:
        raise BatchError(f"there is no function {target!r}: {exc}") from exc
    if not callable(function):
        raise BatchError(f"{target!r} is not a function")
    return function  # type: ignore[no-any-return]


def _ignore_interrupts() -> None:
    # Ctrl-C reaches every process of the terminal; the run ends in order, and its calls with it.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _call(target: str, request: str, response: str) -> str:
    """Runs in a worker."""
    result = load(target)(json.loads(request), json.loads(response))
    return json.dumps(result, allow_nan=False, separators=(",", ":"))


def _outcome(tag: Any, future: Future[str]) -> Processed:
    exc = future.exception()
    if exc is None:
        return Processed(tag, future.result(), "")
    # Not str(exc), which may raise.
    return Processed(tag, "null", "".join(traceback.format_exception_only(exc)).strip())
