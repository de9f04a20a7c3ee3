"""Worker threads.

A task waits in the deque of its priority, and a token for it in one queue that all workers sleep on (CPython's own
``SimpleQueue``, the fastest hand-off between threads that was measured).  Whoever gets a token takes the task that is
best then.  A task belongs to whoever removes its ``call``, which is atomic: a worker that runs it, or who cancels it.
No table of all tasks is kept: on a free-threaded interpreter every worker would meet the submitter at its lock.

``_lock`` guards ``_next``, ``_workers``, ``_stuck``, ``_gone``, ``_refusal``, ``_levels``, ``_limited`` and the
counters; it is never held while a future is settled.  Deques are used by single operations, which are atomic.  What a
worker is at belongs to that worker; others read it and may see the last state.
"""

from __future__ import annotations

import contextvars
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from contextlib import suppress
from typing import Any

from offgil.errors import BrokenExecutor, Closed, TaskTimeout
from offgil.executor.interrupts import interrupts_later
from offgil.executor.tasks import DEFAULT, Options, Running, Task, TaskCounts, name_of

__all__ = ["Threads"]

#: Seconds between two looks at the workers, while there are tasks with a time limit.
_TICK = 0.02


_Call = tuple[contextvars.Context, Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class _ThreadTask(Task):
    """A task with all that it needs to run, until it is begun or cancelled."""

    call: list[_Call]  # one, or none any more: whoever pops it has the task; no lock is needed for that


class _Worker:
    """A thread and its task; only that thread counts."""

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
        on_done: Callable[[object], None] | None,
    ) -> None:
        self._max_workers = max_workers
        self._initializer = initializer
        self._initargs = initargs
        self._max_tasks = max_tasks_per_worker
        self._on_done = on_done
        #: A token for each task that was submitted; behind the last one ``False``, which each worker passes on.
        self._tokens: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._levels: dict[int, deque[_ThreadTask]] = {0: deque()}  # highest priority first
        self._lock = threading.Lock()
        self._next = 0
        self._workers: set[_Worker] = set()
        self._stuck: set[_Worker] = set()
        self._refusal: BrokenExecutor | Closed | None = None
        self._limited: set[Task] = set()
        self._limiter: threading.Thread | None = None
        # Rung when there is a first task in `_limited`; an Event that Ctrl-C interrupts may stay locked.
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._patient = True
        self._gone = _Worker()  # sums up the counts of workers that have ended
        self._overdue = _Worker()  # counts for the watcher
        self._cancelled = 0

    # --- submitting -------------------------------------------------------------------------------

    def submit(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
        place: object = None,
    ) -> Task:
        task = _ThreadTask(self, fn, options, place)
        task.call = [(contextvars.copy_context(), fn, args, kwargs)]
        try:
            with self._lock:
                if self._refusal is not None:
                    raise self._refusal_again()
                self._next = task.number = self._next + 1
                if len(self._workers) < self._max_workers:
                    self._grow()
                if options is not DEFAULT:
                    self._level(options.priority)
                    if options.timeout is not None:
                        self._limit(task)
                try:
                    self._levels[options.priority].append(task)
                finally:  # Ctrl-C may come in between: a task without its token would keep another one waiting
                    # Under the lock, so that nothing comes behind the last token.
                    self._tokens.put(True)
        except BaseException:
            if task.number:
                self.withdraw(task)  # nobody gets the future
            raise
        return task

    def _level(self, priority: int) -> None:
        """Called with the lock held."""
        if priority not in self._levels:
            # A new dict: others iterate over the old one.
            levels = {**self._levels, priority: deque()}
            self._levels = dict(sorted(levels.items(), reverse=True))

    def _refusal_again(self) -> BrokenExecutor | Closed:
        refusal = self._refusal
        if refusal is None:
            return Closed("the executor was shut down: make a new one")
        return type(refusal)(*refusal.args)

    def withdraw(self, task: Task) -> bool:
        assert isinstance(task, _ThreadTask)
        try:
            task.call.pop()
        except IndexError:
            return False
        with self._lock:
            self._cancelled += 1
        task.fn = task.backend = None
        self._after(task)
        return True

    def is_queued(self, task: Task) -> bool:
        assert isinstance(task, _ThreadTask)
        return bool(task.call)

    # --- a worker's thread ------------------------------------------------------------------------

    def _grow(self) -> None:
        """Start a worker if there are more tasks than workers; called with the lock held."""
        # What others have just counted may be missing here; then there is a worker too many, never one too few.
        done = self._cancelled + sum(
            each.succeeded + each.failed for each in (self._gone, self._overdue, *self._workers)
        )
        if self._next - done > len(self._workers):
            self._start_worker()

    def _start_worker(self) -> None:
        """Called with the lock held."""
        worker = _Worker()
        name = f"offgil-worker-{len(self._workers)}"
        worker.thread = threading.Thread(target=self._work, args=(worker,), name=name, daemon=True)
        with interrupts_later():
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
            self._break(worker, exc)
            self._leave(worker)
            return
        left = self._max_tasks
        get = self._tokens.get
        while left != 0 and not worker.stuck:
            if not get():
                self._tokens.put(False)
                self._leave(worker)
                return
            task = self._best()
            try:
                call = task.call.pop()
            except IndexError:
                continue  # cancelled
            self._run(worker, task, *call)
            del task, call
            if left is not None:
                left -= 1
        self._leave(worker, replace=True)

    def _best(self) -> _ThreadTask:
        while True:  # until it finds the one that the token stands for, or a better one
            for level in self._levels.values():
                if level:
                    try:
                        return level.popleft()
                    except IndexError:
                        pass  # another worker was faster

    def _run(
        self,
        worker: _Worker,
        task: _ThreadTask,
        context: contextvars.Context,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        worker.since = time.monotonic()
        worker.task = task  # after `since`, as the watcher reads them the other way round
        try:
            result = context.run(fn, *args, **kwargs)
        except BaseException as exc:
            # Its traceback begins in the task's own code; this frame would be kept alive by it.
            traceback = exc.__traceback__
            exc.__traceback__ = traceback and traceback.tb_next
            self._fail(worker, task, exc)
        else:
            try:
                task.set_result(result)
            except InvalidStateError:
                pass  # it was over its time
            else:
                worker.succeeded += 1
                task.fn = task.backend = None
                if task.options is not DEFAULT or self._on_done is not None:
                    self._after(task)
        worker.task = None

    def _fail(self, worker: _Worker, task: _ThreadTask, exc: BaseException) -> bool:
        """Settle the task; ``False`` if that was done before."""
        try:
            task.set_exception(exc)
        except InvalidStateError:
            return False
        worker.failed += 1
        task.fn = task.backend = None
        self._after(task)
        return True

    def _after(self, task: Task) -> None:
        if task.options.timeout is not None:
            with self._lock:
                self._limited.discard(task)
        if self._on_done is not None:
            self._on_done(task.place)

    def _leave(self, worker: _Worker, *, replace: bool = False) -> None:
        with self._lock:
            self._workers.discard(worker)
            self._stuck.discard(worker)
            self._gone.succeeded += worker.succeeded
            self._gone.failed += worker.failed
            if replace and self._tokens.qsize() and len(self._workers) < self._max_workers:
                self._start_worker()

    def _break(self, worker: _Worker, exc: BaseException) -> None:
        with self._lock:
            if not isinstance(self._refusal, BrokenExecutor):
                self._end(BrokenExecutor(f"the initializer raised in a worker thread: {type(exc).__name__}: {exc}"))
        for task in self._waiting():
            if task.call:
                task.call.clear()
                broken = self._refusal_again()
                broken.__cause__ = exc
                self._fail(worker, task, broken)

    def _waiting(self) -> list[_ThreadTask]:
        return [task for level in self._levels.values() for task in level.copy() if task.call]

    # --- time limits ------------------------------------------------------------------------------

    def _limit(self, task: Task) -> None:
        """Called with the lock held."""
        if not self._limited and self._bell.empty():
            self._bell.put(None)
        self._limited.add(task)
        if self._limiter is None:
            with interrupts_later():
                limiter = threading.Thread(target=self._watch_limits, name="offgil-watcher", daemon=True)
                limiter.start()
                self._limiter = limiter

    def _watch_limits(self) -> None:
        while self._refusal is None or self._workers:
            if not self._limited:
                with suppress(queue.Empty):
                    self._bell.get(timeout=1)
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
        exc = TaskTimeout(
            f"{name_of(task.fn)} ran longer than its timeout of {task.options.timeout} s; a thread cannot be "
            f"killed, so {worker.thread.name} still runs it, and another one takes its place"
        )
        if not self._fail(self._overdue, task, exc):
            return
        with self._lock:
            worker.stuck = True
            self._workers.discard(worker)
            self._stuck.add(worker)
            if self._tokens.qsize():
                self._start_worker()

    # --- the end ----------------------------------------------------------------------------------

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        with self._lock:
            if self._refusal is None:
                self._end(Closed("cannot submit: the executor was shut down; make a new one"))
        if cancel_futures:
            for task in self._waiting():
                task.cancel()
        while wait and self._patient:
            with self._lock:
                threads = [w.thread for w in self._workers if w.thread is not threading.current_thread()]
            if not threads:
                return
            # In slices: a thread may be found stuck meanwhile, and is not waited for then.
            threads[0].join(1)

    def _end(self, refusal: BrokenExecutor | Closed) -> None:
        """Called with the lock held."""
        self._refusal = refusal
        self._tokens.put(False)

    def interrupt(self) -> None:
        self._patient = False

    def forget(self) -> None:
        self._lock = threading.Lock()
        self._refusal = Closed(f"this executor belongs to process {os.getppid()}, this is a fork of it: make a new one")
        self._workers = set()

    # --- reports ----------------------------------------------------------------------------------

    def running(self) -> list[Running]:
        with self._lock:
            workers = list(self._workers)
        found = ((worker.task, worker) for worker in workers)
        return [
            Running(task.number, worker.thread.name, worker.since)
            for task, worker in found
            if task is not None and not task.done()
        ]

    def tasks(self) -> list[Task]:
        with self._lock:
            running = [task for worker in self._workers if (task := worker.task) is not None and not task.done()]
        return sorted([*running, *self._waiting()], key=lambda task: task.number)

    def counts(self) -> TaskCounts:
        with self._lock:
            workers = [self._gone, self._overdue, *self._workers, *self._stuck]
            return TaskCounts(
                succeeded=sum(worker.succeeded for worker in workers),
                failed=sum(worker.failed for worker in workers),
                cancelled=self._cancelled,
                retried=0,
                died=0,
                timed_out=self._overdue.failed,
                stuck=len(self._stuck),
            )

    @property
    def workers(self) -> int:
        return len(self._workers)

    @property
    def submitted(self) -> int:
        return self._next
