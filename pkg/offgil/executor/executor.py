"""The executor that people use: threads where the GIL is off, processes where it is on."""

from __future__ import annotations

import concurrent.futures
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from multiprocessing.context import BaseContext
from types import TracebackType
from typing import Any, Literal, ParamSpec, SupportsIndex, TypeVar

from offgil.errors import ExecutorFull, StoreUnavailable
from offgil.executor.lifetime import watch_over
from offgil.executor.mapping import map_tasks
from offgil.executor.room import Room, Turn
from offgil.executor.tasks import DEFAULT, Backend, ExecutorStats, Options, Task, TaskReport, name_of
from offgil.runtime import Decision, decide_workers

__all__ = ["Executor", "Submitter"]

P = ParamSpec("P")
T = TypeVar("T")


class Executor(concurrent.futures.Executor):
    """Runs functions on worker threads or worker processes, whichever is faster on this interpreter.

    Everything that works with a :class:`concurrent.futures.Executor` works with this one: its futures, ``wait``,
    ``as_completed``, ``loop.run_in_executor``, the ``with`` statement.  At the end of the interpreter, what was
    submitted is run to its end.

    With processes, functions, arguments and results go by pickle through shared memory; functions that pickle
    refuses go by cloudpickle where it is installed.  Buffers of 64 KiB and more, such as those of numpy arrays, are not
    copied by whoever receives them, and are read-only there.  A worker that dies fails only the task that it ran
    (:class:`~offgil.errors.WorkerDied`) and is replaced.

    With threads, each task runs in a copy of the context (:mod:`contextvars`) that it was submitted in.

    Args:
        max_workers: threads or processes at most; ``None`` for the number of CPUs that this process may use.
        workers: ``"threads"`` or ``"processes"`` to force one; with ``"auto"`` the environment variable
            ``OFFGIL_WORKERS`` may force one, else the interpreter as it is now decides.
        initializer: called in each worker before its first task.
        initargs: its arguments.
        max_pending: ``submit`` blocks while so many tasks are not done; ``None`` for no bound.  A done callback
            that submits must not have to wait, since it is what others wait for.
        max_tasks_per_worker: replace a worker after so many tasks; ``None`` for never.
        context: what starts processes, of :func:`multiprocessing.get_context`; ``None`` for the interpreter's default.

    Raises:
        UnknownKind: ``workers`` or ``OFFGIL_WORKERS`` names no kind of workers.
        StoreUnavailable: processes were asked for on a platform without shared memory for them.

    Thread-safety: safe on shared objects.
    """

    #: Which workers, and why.
    decision: Decision

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        workers: Literal["auto", "threads", "processes"] = "auto",
        initializer: Callable[..., Any] | None = None,
        initargs: tuple[Any, ...] = (),
        max_pending: int | None = None,
        max_tasks_per_worker: int | None = None,
        context: BaseContext | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = min(_cpus(), 250)
        for name, number in (
            ("max_workers", max_workers),
            ("max_pending", max_pending),
            ("max_tasks_per_worker", max_tasks_per_worker),
        ):
            if number is not None and not isinstance(number, SupportsIndex):
                raise TypeError(f"{name} must be an int or None, not {type(number).__name__}")
            if number is not None and number < 1:
                raise ValueError(f"{name} must be greater than 0, not {number}")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if context is not None and not isinstance(context, BaseContext):
            raise TypeError(f"context must be of multiprocessing.get_context(), not {context!r}")
        self.decision = _decide(workers)
        self._room = None if max_pending is None else Room(max_pending)
        common: dict[str, Any] = {
            "initializer": initializer,
            "initargs": initargs,
            "max_tasks_per_worker": max_tasks_per_worker,
            "on_done": None if self._room is None else self._room.leave,
        }
        self._backend: Backend
        # Imported here: processes need what only Linux has, and threads need none of it.
        if self.decision.kind == "threads":
            from offgil.executor.threads import Threads

            self._backend = Threads(max_workers, **common)
        else:
            from offgil.executor.processes import Processes

            self._backend = Processes(max_workers, context=context, **common)
        watch_over(self._backend)
        weakref.finalize(self, self._backend.shutdown, wait=False, cancel_futures=False).atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a worker call ``fn(*args, **kwargs)``.

        With processes, what cannot be sent fails the future with :class:`~offgil.errors.CodecError`.

        Raises:
            Closed: the executor was shut down.
            BrokenExecutor: its workers cannot be started.
        """
        return self._submit(fn, args, kwargs, DEFAULT)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call ``fn`` with the items of ``iterables``, and iterate over the results in the order of the items.

        All tasks are submitted at once, or with ``buffersize`` so many ahead of what was iterated over.  Leaving the
        iteration cancels the tasks that have not begun.

        Args:
            timeout: seconds from now in which each result must be there; else ``next()`` raises TimeoutError.
            chunksize: calls in one task.
            buffersize: tasks submitted whose results were not iterated over yet; ``None`` for no bound.
        """
        return map_tasks(self.submit, fn, iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize)

    async def submit_async(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Have a worker call ``fn(*args, **kwargs)`` and await the result.

        Cancelling cancels the task if it has not begun.  Where ``max_pending`` tasks are pending, this waits without
        blocking the event loop.
        """
        result: T = await self._submit_async(fn, args, kwargs, DEFAULT)
        return result

    def options(
        self,
        *,
        priority: int = 0,
        timeout: float | None = None,
        retries: int = 0,
        submit_timeout: float | None = None,
    ) -> Submitter:
        """The same executor with other options for the tasks that are submitted through what this returns.

        Args:
            priority: 0 to 63; among tasks that wait, higher ones run first, and equal ones in order.
            timeout: seconds that the task may run; then it fails with :class:`~offgil.errors.TaskTimeout`.  A
                process is killed and replaced; a thread cannot be killed, goes on, and is counted as stuck.
            retries: how often the task is started again if its worker dies.  Only for tasks that may run
                more than once.
            submit_timeout: seconds that ``submit`` waits while ``max_pending`` tasks are pending; then it raises
                :class:`~offgil.errors.ExecutorFull`.  ``None`` waits without limit.
        """
        return Submitter(self, Options(priority, timeout, retries, submit_timeout).check())

    def snapshot(self) -> list[TaskReport]:
        """The tasks that are not done, as they are now, in order of submission."""
        now = time.monotonic()
        running = {each.number: each for each in self._backend.running()}
        reports = []
        for task in self._backend.tasks():
            at = running.get(task.number)
            reports.append(
                TaskReport(
                    number=task.number,
                    name=name_of(task.fn),
                    state="pending" if at is None else "running",
                    worker=None if at is None else at.worker,
                    age=now - task.submitted,
                    running_for=None if at is None else now - at.since,
                    priority=task.options.priority,
                    attempt=task.attempt,
                )
            )
        return reports

    def stats(self) -> ExecutorStats:
        """Counters, each read without waiting for the others."""
        backend = self._backend
        running = len(backend.running())
        return ExecutorStats(
            workers=backend.workers,
            submitted=backend.submitted,
            pending=max(0, len(backend.tasks()) - running),
            running=running,
            **backend.counts(),
        )

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take on nothing more, run what was submitted, and end the workers.

        Args:
            wait: return when that is done, rather than at once.
            cancel_futures: cancel the tasks that have not begun.
        """
        self._backend.shutdown(wait=wait, cancel_futures=cancel_futures)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is not None and issubclass(exc_type, KeyboardInterrupt):
            self._give_up()
            return
        try:
            self.shutdown()
        except KeyboardInterrupt:
            self._give_up()
            raise

    def _give_up(self) -> None:
        """After Ctrl-C: whoever pressed it does not want to wait for the tasks."""
        self.shutdown(wait=False, cancel_futures=True)
        self._backend.interrupt()
        self.shutdown()

    def __repr__(self) -> str:
        return f"<Executor of {self._backend.workers} {self.decision.kind}, {len(self._backend.tasks())} tasks>"

    def _submit(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options) -> Task:
        if self._room is None:
            return self._backend.submit(fn, args, kwargs, options)
        place = threading.Lock()  # unlike a future, waiting for it can be interrupted anywhere
        place.acquire()
        try:
            if not self._room.ask(place):
                timeout = options.submit_timeout
                if not place.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX)):
                    raise _no_room(options)
            return self._backend.submit(fn, args, kwargs, options, place)
        except BaseException:
            self._room.leave(place)
            raise

    async def _submit_async(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options
    ) -> Any:
        import asyncio  # here, where it has been imported already: it takes longer than all of the executor

        if self._room is None:
            return await asyncio.wrap_future(self._backend.submit(fn, args, kwargs, options))
        place = Turn()
        try:
            if not self._room.ask(place):
                try:
                    async with asyncio.timeout(options.submit_timeout):
                        await asyncio.wrap_future(place)
                except TimeoutError:
                    raise _no_room(options) from None
            task = self._backend.submit(fn, args, kwargs, options, place)
        except BaseException:
            self._room.leave(place)
            raise
        return await asyncio.wrap_future(task)


class Submitter:
    """An executor with options; made by :meth:`Executor.options`.

    Its methods are those of :class:`Executor`.

    Thread-safety: safe on shared objects.
    """

    __slots__ = ("_executor", "_options")

    def __init__(self, executor: Executor, options: Options) -> None:
        self._executor = executor
        self._options = options

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As :meth:`Executor.submit`, which documents it.

        Raises:
            ExecutorFull: there was no room within ``submit_timeout``.
        """
        return self._executor._submit(fn, args, kwargs, self._options)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """As :meth:`Executor.map`, which documents it; its ``timeout`` is the one for results."""
        return map_tasks(self.submit, fn, iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize)

    async def submit_async(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As :meth:`Executor.submit_async`, which documents it."""
        result: T = await self._executor._submit_async(fn, args, kwargs, self._options)
        return result


def _no_room(options: Options) -> ExecutorFull:
    return ExecutorFull(
        f"no task was done within {options.submit_timeout} s while max_pending of them were pending; "
        "wait longer (submit_timeout), or allow more"
    )


def _decide(workers: str) -> Decision:
    decision = decide_workers(workers)
    if decision.kind != "processes" or sys.platform == "linux":
        return decision
    if decision.forced:
        raise StoreUnavailable(
            f"worker processes need the managed-dict store, and so Linux, and this is {sys.platform}: "
            "use workers='threads'"
        )
    return Decision("threads", f"worker processes need Linux, and this is {sys.platform}")


def _cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
