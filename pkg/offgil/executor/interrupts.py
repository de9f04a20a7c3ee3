"""Ctrl-C, and whatever else signal handlers raise, kept away while processes and threads are started.

A start that is interrupted may leave something behind that runs and that nobody knows of: neither multiprocessing nor
threading can be asked afterwards whether it began.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

__all__ = ["interrupts_later"]


@contextmanager
def interrupts_later() -> Iterator[None]:
    """Call Python's signal handlers at the end of the block, for signals that come in it.

    Thread-safety: safe on shared objects; handlers run on the main thread, and on others this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
    came: list[tuple[int, FrameType | None]] = []
    owner = os.getpid()
    over = False

    def note(signum: int, frame: FrameType | None) -> None:
        if over or os.getpid() != owner:  # a fork is made within the block, and never comes to its end
            handlers[signum](signum, frame)
        else:
            came.append((signum, frame))

    try:
        for each in signal.valid_signals():
            handler = signal.getsignal(each)
            if callable(handler):
                handlers[each] = handler
                try:
                    signal.signal(each, note)
                except ValueError:  # a subinterpreter: handlers never run in it
                    handlers.clear()
                    break
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        over = True
        with ExitStack() as stack:  # calls each, also when one raises
            for signum, frame in reversed(came):
                stack.callback(handlers[signum], signum, frame)
