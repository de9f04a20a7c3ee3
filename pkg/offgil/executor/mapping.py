"""What lies between ``map`` and ``submit``: chunks, and results in order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import chain, islice
from typing import Any

__all__ = ["map_tasks"]

_Submit = Callable[..., Future[Any]]


def map_tasks(
    submit: _Submit,
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    *,
    timeout: float | None,
    chunksize: int,
    buffersize: int | None,
) -> Iterator[Any]:
    """Submit a task for each tuple of arguments, or for each chunk of them, and iterate over the results."""
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError("buffersize must be an integer or None")
    if buffersize is not None and buffersize < 1:
        raise ValueError("buffersize must be None or > 0")
    if chunksize < 1:
        raise ValueError("chunksize must be >= 1.")
    arguments: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
    if chunksize == 1:
        return _in_order(submit, fn, arguments, timeout, buffersize)
    chunks = ((fn, chunk) for chunk in iter(lambda: tuple(islice(arguments, chunksize)), ()))
    return chain.from_iterable(_in_order(submit, _run_chunk, chunks, timeout, buffersize))


def _run_chunk(fn: Callable[..., Any], chunk: tuple[tuple[Any, ...], ...]) -> list[Any]:
    return [fn(*arguments) for arguments in chunk]


def _in_order(
    submit: _Submit,
    fn: Callable[..., Any],
    arguments: Iterator[tuple[Any, ...]],
    timeout: float | None,
    buffersize: int | None,
) -> Iterator[Any]:
    deadline = None if timeout is None else time.monotonic() + timeout
    # Submitted now, not at the first next().
    futures = deque(submit(fn, *each) for each in islice(arguments, buffersize))

    def results() -> Iterator[Any]:
        try:
            while futures:
                if buffersize is not None and (each := next(arguments, None)) is not None:
                    futures.append(submit(fn, *each))
                yield _result(futures.popleft(), deadline)
        finally:
            for future in futures:
                future.cancel()

    return results()


def _result(future: Future[Any], deadline: float | None) -> Any:
    try:
        return future.result(None if deadline is None else deadline - time.monotonic())
    except BaseException:
        future.cancel()
        raise
    finally:
        del future  # its exception's traceback holds this frame
