"""A worker process: takes tasks, runs them, and sends back what became of them, until the store is closed."""

from __future__ import annotations

import contextvars
import multiprocessing
import os
import select
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from offgil.errors import Closed, CodecError, StoreFull
from offgil.executor.channel import Channel, in_place
from offgil.executor.frames import Functions, read_task, write_exception, write_pickle
from offgil.executor.tasks import name_of

__all__ = ["run_worker"]

#: Seconds after which a worker that waits, or has ended a task, looks whether its parent still lives.
_LOOK_AFTER_PARENT = 1.0
#: Types that the store encodes by itself.
_PLAIN = (type(None), bool, int, float, str, bytes)


class _Interrupts:
    """What SIGINT does: Ctrl-C reaches every process of the terminal, and is to end the task, not the worker."""

    def __init__(self) -> None:
        self.in_task = False

    def handle(self, signum: int, frame: Any) -> None:
        if self.in_task:
            self.in_task = False  # once for each task
            raise KeyboardInterrupt


def run_worker(
    channel: Channel,
    slot: int,
    initializer: Callable[..., Any] | None,
    initargs: tuple[Any, ...],
    max_tasks: int | None,
) -> None:
    """The main function of a worker process.

    Args:
        slot: of its claim.
        max_tasks: end after so many.
    """
    interrupts = _Interrupts()
    signal.signal(signal.SIGINT, interrupts.handle)
    orphaned = _orphan_check()
    try:
        if initializer is not None:
            initializer(*initargs)
    except BaseException:
        with suppress(Closed):
            _tell(channel, orphaned, "b", slot, traceback.format_exc())
        return
    channel.mark(slot, starting=False)
    claim = channel.claim_memory(slot)
    functions: Functions = {}
    take = channel.tasks.take
    looked = time.monotonic()
    try:
        while max_tasks is None or max_tasks > 0:
            if time.monotonic() - looked >= _LOOK_AFTER_PARENT:
                if orphaned():
                    return
                looked = time.monotonic()
            entry = take(None, _LOOK_AFTER_PARENT, None, claim)
            if entry is None:
                continue
            _run(channel, orphaned, int(entry[0], 16), entry[1], functions, interrupts)
            del entry
            if max_tasks is not None:
                max_tasks -= 1
    except Closed:
        pass


def _orphan_check() -> Callable[[], bool]:
    """Asks whether the process that started this one has ended."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    # multiprocessing's pipe alone does not say it: every fork of the parent holds it open, and may outlive it.
    poll = select.poll()
    try:
        poll.register(os.pidfd_open(parent.pid), select.POLLIN)
    except ProcessLookupError:
        return lambda: True
    return lambda: bool(poll.poll(0)) or not parent.is_alive()


def _run(
    channel: Channel,
    orphaned: Callable[[], bool],
    number: int,
    frame: bytes | memoryview,
    functions: Functions,
    interrupts: _Interrupts,
) -> None:
    letter, value = "v", None
    try:
        fn, args, kwargs = read_task(in_place(channel.tasks, frame), functions)
        # A context for each task, so that none sees what another one has set.
        context = contextvars.copy_context()
        try:
            interrupts.in_task = True
            value = context.run(fn, *args, **kwargs)
        finally:
            interrupts.in_task = False
        if type(value) not in _PLAIN:
            letter, value = "p", _frame_of(value, fn)
    except BaseException as exc:
        _without_own_frames(exc)
        letter, value = "e", write_exception(exc)
    try:
        _tell(channel, orphaned, letter, number, value)
    except StoreFull as exc:
        _tell(channel, orphaned, "e", number, write_exception(exc))


def _tell(channel: Channel, orphaned: Callable[[], bool], letter: str, number: int, value: Any) -> None:
    """Wait for room in the store for as long as there is a parent that could make some."""
    while True:
        began = time.monotonic()
        try:
            channel.put_news(letter, number, value, timeout=_LOOK_AFTER_PARENT)
        except StoreFull:
            if time.monotonic() - began < _LOOK_AFTER_PARENT:
                raise  # it has not waited: the value is larger than the store
            if orphaned():
                raise Closed("the parent has ended") from None
        else:
            return


def _frame_of(value: Any, fn: Callable[..., Any]) -> Any:
    try:
        return write_pickle(value)
    except Exception as exc:
        raise CodecError(
            f"the result of {name_of(fn)}, a {type(value).__qualname__}, cannot be sent back: {exc}"
        ) from exc


def _without_own_frames(exc: BaseException) -> None:
    """Begin the traceback where the task's own code begins."""
    traceback_ = exc.__traceback__
    while traceback_ is not None and traceback_.tb_frame.f_globals is globals() and traceback_.tb_next is not None:
        traceback_ = traceback_.tb_next
    exc.__traceback__ = traceback_
