"""Functions that worker processes of any start method can import."""

from __future__ import annotations

import contextvars
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def add(a: int, b: int = 1) -> int:
    return a + b


def same(value: Any) -> Any:
    return value


def where() -> tuple[int, int]:
    return os.getpid(), threading.get_native_id()


def fail(message: str) -> NoReturn:
    raise ValueError(message)  # a comment to find in the traceback


class Unsendable(Exception):
    def __reduce__(self) -> NoReturn:
        raise TypeError("this exception stays here")


class Unprintable(Unsendable):
    def __str__(self) -> NoReturn:
        raise TypeError("nothing to say")


class Unmakeable(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


def raise_unsendable() -> NoReturn:
    raise Unsendable("secret")


def raise_unprintable() -> NoReturn:
    raise Unprintable


def raise_unmakeable() -> NoReturn:
    raise Unmakeable("two", "words")


def generator() -> Iterator[int]:
    yield 1


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def exit_hard(code: int) -> NoReturn:
    os._exit(code)


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exit_softly() -> NoReturn:
    raise SystemExit(3)


def die_at_first(folder: str) -> int:
    """Die at the first attempt, and tell the number of the attempt at a later one."""
    attempts = len(list(Path(folder).iterdir()))
    (Path(folder) / str(attempts)).touch()
    if attempts == 0:
        os._exit(9)
    return attempts + 1


def wait_for_file(path: str, note: str = "") -> str:
    """Return once the file is there; with ``note``, make that file first."""
    if note:
        Path(note).touch()
    until = time.monotonic() + 60
    while not Path(path).exists():
        if time.monotonic() > until:
            raise TimeoutError(path)
        time.sleep(0.002)
    return path


def append(path: str, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)


def set_variable(value: str) -> str:
    before = variable.get()
    variable.set(value)
    return before


state: list[Any] = []


def initialize(value: Any) -> None:
    state.append(value)


def read_state() -> list[Any]:
    return list(state)


def fail_to_initialize() -> NoReturn:
    raise RuntimeError("no model file")


def exit_hard_at_start() -> NoReturn:
    os._exit(7)


def sum_of(array: Any) -> float:
    return float(array.sum())


def is_writeable(array: Any) -> bool:
    return bool(array.flags.writeable)


def start_grandchild(seconds: float) -> int:
    """Start a process that outlives the worker and holds all that it inherits."""
    pid = os.fork()
    if pid == 0:
        time.sleep(seconds)
        os._exit(0)
    return pid


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def moved(self, by: int) -> Point:
        return Point(self.x + by)
