"""Worker threads.

The queue is a shared-state table: it hands tasks over natively, by priority, and can take one back.

Locking: ``_lock`` guards ``_next``, ``_workers``, ``_refusal`` and ``_limited``; it is never held while a future is settled.
What a worker is at belongs to that worker; others read it and may see the last state.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from typing import Any

from offgil.errors import BrokenExecutor, Closed, TaskTimeout
from offgil.executor.tasks import Options, Running, Task, TaskCounts, name_of
from offgil.store.shared import SharedStateStore

__all__ = ["Threads"]

_TASKS = "t"
#: Seconds between two looks at the workers, while there are tasks with a time limit.
_TICK = 0.02


class _ThreadTask(Task):
    """A task with all that it needs to run."""

    call: tuple[contextvars.Context, Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None

    def release(self) -> None:
        self.call = None
        super().release()


class _Worker:
    """A thread and its task."""

    def __init__(self) -> None:
        self.thread: threading.Thread
        self.task: _ThreadTask | None = None
        self.since = 0.0
        self.stuck = False
        self.succeeded = 0
        self.failed = 0


class Threads:
    """The backend of worker threads; see :class:`~offgil.executor.tasks.Backend`.

    Thread-safety: safe on shared objects.
    """

    def __init__(
        self,
        max_workers: int,
        *,
        initializer: Callable[..., Any] | None,
        initargs: tuple[Any, ...],
        max_tasks_per_worker: int | None,
        on_done: Callable[[], None] | None,
    ) -> None:
        self._max_workers = max_workers
        self._initializer = initializer
        self._initargs = initargs
        self._max_tasks = max_tasks_per_worker
        self._on_done = on_done
        self._queue = SharedStateStore()
        self._tasks: dict[int, _ThreadTask] = {}
        self._lock = threading.Lock()
        self._next = 0
        self._workers: set[_Worker] = set()
        self._stuck: set[_Worker] = set()
        self._refusal: BrokenExecutor | Closed | None = None
        self._limited = 0
        self._limiter: threading.Thread | None = None
        self._bell = threading.Event()
        self._patient = True
        self._gone = _Worker()  # sums up the counts of workers that have ended
        self._cancelled = 0
        self._timed_out = 0

    # --- submitting -------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options) -> Task:
        with self._lock:
            if self._refusal is not None:
                raise self._refusal_again()
            self._next = number = self._next + 1
            task = self._tasks[number] = _ThreadTask(self, number, fn, options)
            task.call = contextvars.copy_context(), fn, args, kwargs
            grow = len(self._workers) < self._max_workers and len(self._tasks) > len(self._workers)
            if grow:
                self._start_worker()
            if options.timeout is not None:
                self._limit(1)
        try:
            self._queue.put(f"{number:x}", task, priority=options.priority, topic=_TASKS)
        except Closed:
            self._tasks.pop(number, None)
            raise self._refusal_again() from None
        return task

    def _refusal_again(self) -> BrokenExecutor | Closed:
        refusal = self._refusal
        if refusal is None:
            return Closed("the executor was shut down: make a new one")
        return type(refusal)(*refusal.args)

    def withdraw(self, task: Task) -> bool:
        try:
            if task.done() or self._queue.pop(f"{task.number:x}", None) is None:
                return False
        except Closed:
            return False
        if self._tasks.pop(task.number, None) is None:
            return False
        with self._lock:
            self._cancelled += 1
        self._after(task)
        self._end_if_done()
        return True

    def is_queued(self, task: Task) -> bool:
        try:
            return f"{task.number:x}" in self._queue
        except Closed:
            return False

    # --- a worker's thread ------------------------------------------------------------------------

    def _start_worker(self) -> None:
        """Called with the lock held."""
        worker = _Worker()
        name = f"offgil-worker-{len(self._workers)}"
        worker.thread = threading.Thread(target=self._work, args=(worker,), name=name, daemon=True)
        self._workers.add(worker)
        try:
            worker.thread.start()
        except BaseException:
            self._workers.discard(worker)
            raise

    def _work(self, worker: _Worker) -> None:
        try:
            if self._initializer is not None:
                self._initializer(*self._initargs)
        except BaseException as exc:
            self._break(exc)
            self._leave(worker)
            return
        left = self._max_tasks
        take = self._queue.take
        try:
            while left != 0 and not worker.stuck:
                _, task = take(_TASKS)
                self._run(worker, task)
                del task
                if left is not None:
                    left -= 1
                self._end_if_done()
        except Closed:
            pass
        self._leave(worker)

    def _run(self, worker: _Worker, task: _ThreadTask) -> None:
        call = task.call
        assert call is not None
        context, fn, args, kwargs = call
        worker.since = time.monotonic()
        worker.task = task
        try:
            result = context.run(fn, *args, **kwargs)
        except BaseException as exc:
            worker.task = None
            # Its traceback begins in the task's own code; this frame would be kept alive by it.
            traceback = exc.__traceback__
            exc.__traceback__ = traceback and traceback.tb_next
            self._settle(worker, task, exc=exc)
        else:
            worker.task = None
            self._settle(worker, task, result)

    def _settle(self, worker: _Worker, task: _ThreadTask, result: Any = None, exc: BaseException | None = None) -> None:
        if self._tasks.pop(task.number, None) is None:
            return  # it was over its time
        try:
            if exc is None:
                worker.succeeded += 1
                task.set_result(result)
            else:
                worker.failed += 1
                task.set_exception(exc)
        except InvalidStateError:
            pass  # somebody else has settled it, though futures of an executor are not theirs to settle
        self._after(task)
        task.release()

    def _after(self, task: Task) -> None:
        if task.options.timeout is not None:
            with self._lock:
                self._limit(-1)
        if self._on_done is not None:
            self._on_done()

    def _leave(self, worker: _Worker) -> None:
        with self._lock:
            self._workers.discard(worker)
            self._stuck.discard(worker)
            self._gone.succeeded += worker.succeeded
            self._gone.failed += worker.failed
            if not self._queue.closed and len(self._tasks) > len(self._workers):
                self._start_worker()

    def _break(self, exc: BaseException) -> None:
        with self._lock:
            if self._refusal is None or isinstance(self._refusal, Closed):
                self._refusal = BrokenExecutor(
                    f"the initializer raised in a worker thread: {type(exc).__name__}: {exc}"
                )
                self._refusal.__cause__ = exc
        self._queue.close()
        for number in list(self._tasks):
            task = self._tasks.get(number)
            if task is not None:
                broken = self._refusal_again()
                broken.__cause__ = exc
                self._settle(self._gone, task, exc=broken)

    # --- time limits ------------------------------------------------------------------------------

    def _limit(self, change: int) -> None:
        """Called with the lock held."""
        self._limited += change
        if self._limiter is None:
            self._limiter = threading.Thread(target=self._watch_limits, name="offgil-watcher", daemon=True)
            self._limiter.start()
        if self._limited:
            self._bell.set()
        else:
            self._bell.clear()

    def _watch_limits(self) -> None:
        while not self._queue.closed:
            self._bell.wait(1)
            time.sleep(_TICK)
            with self._lock:
                workers = list(self._workers)
            now = time.monotonic()
            for worker in workers:
                task, since = worker.task, worker.since
                if task is None or task.options.timeout is None or now - since <= task.options.timeout:
                    continue
                if worker.task is task:
                    self._give_up(worker, task)

    def _give_up(self, worker: _Worker, task: _ThreadTask) -> None:
        if self._tasks.pop(task.number, None) is None:
            return
        with self._lock:
            self._timed_out += 1
            self._gone.failed += 1
            worker.stuck = True
            self._workers.discard(worker)
            self._stuck.add(worker)
            if len(self._tasks) > len(self._workers):
                self._start_worker()
        task.set_exception(
            TaskTimeout(
                f"{name_of(task.fn)} ran longer than its timeout of {task.options.timeout} s; a thread cannot be "
                f"killed, so {worker.thread.name} still runs it, and another one takes its place"
            )
        )
        self._after(task)
        self._end_if_done()

    # --- the end ----------------------------------------------------------------------------------

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        with self._lock:
            if self._refusal is None:
                self._refusal = Closed("cannot submit: the executor was shut down; make a new one")
        if cancel_futures:
            for task in self.tasks():
                task.cancel()
        self._end_if_done()
        while wait and self._patient:
            with self._lock:
                threads = [w.thread for w in self._workers if w.thread is not threading.current_thread()]
            if not threads:
                return
            # In slices: a thread may be found stuck meanwhile, and is not waited for then.
            threads[0].join(1)

    def _end_if_done(self) -> None:
        if self._refusal is not None and not self._tasks:
            self._queue.close()

    def interrupt(self) -> None:
        self._patient = False

    def forget(self) -> None:
        self._lock = threading.Lock()
        self._refusal = Closed(f"this executor belongs to process {os.getppid()}, this is a fork of it: make a new one")
        self._tasks = {}
        self._workers = set()

    # --- reports ----------------------------------------------------------------------------------

    def running(self) -> list[Running]:
        with self._lock:
            workers = list(self._workers)
        found = ((worker.task, worker) for worker in workers)
        return [Running(task.number, worker.thread.name, worker.since) for task, worker in found if task is not None]

    def tasks(self) -> list[Task]:
        return list(self._tasks.values())

    def counts(self) -> TaskCounts:
        with self._lock:
            workers = [self._gone, *self._workers, *self._stuck]
            return TaskCounts(
                succeeded=sum(worker.succeeded for worker in workers),
                failed=sum(worker.failed for worker in workers),
                cancelled=self._cancelled,
                retried=0,
                died=0,
                timed_out=self._timed_out,
                stuck=len(self._stuck),
            )

    @property
    def workers(self) -> int:
        return len(self._workers)

    @property
    def submitted(self) -> int:
        return self._next
