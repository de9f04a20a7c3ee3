"""Worker processes.

Submitting writes the task into the store, where any idle worker takes it.  One thread, the collector, reads what comes
back and does all bookkeeping; another one, the watcher, sees processes end and tells the collector by the same way, so
that a worker's death is always read after its last result.

=== Who may touch what ===

``_tasks``: tasks that are not done, by number.  Submitting adds; whoever removes one settles it, and nobody else does.
``_frames``: what was submitted, of tasks that may be run again; added before the task is queued, removed by whoever
settles it.
``_lock`` guards ``_unsent``, ``_next``, ``_workers``, ``_free_slots``, ``_collector``, ``_watcher``, ``_refusal`` and
``_cancelled``.  It is never held while a future is settled, and the watcher never waits for it.
``_failed_starts`` and ``_counts`` belong to the collector.
"""

from __future__ import annotations

import multiprocessing.util  # registers its own end before ours, see lifetime.py
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from contextlib import suppress
from multiprocessing.context import BaseContext
from typing import Any

from offgil.errors import BrokenExecutor, Closed, CodecError, ExecutorError, StoreFull, TaskTimeout, WorkerDied
from offgil.executor.channel import MAX_WORKERS, Channel, in_place
from offgil.executor.frames import function_head, read_exception, read_pickle, write_task
from offgil.executor.interrupts import interrupts_later
from offgil.executor.tasks import DEFAULT, Options, Running, Task, TaskCounts, name_of
from offgil.executor.watcher import Watcher, Worker
from offgil.executor.worker import run_worker

__all__ = ["Processes"]

#: So many workers in a row that end before they are ready break the executor.
_FAILED_STARTS = 10


class Processes:
    """The backend of worker processes; see :class:`~offgil.executor.tasks.Backend`.

    Thread-safety: safe on shared objects.
    """

    def __init__(
        self,
        max_workers: int,
        *,
        initializer: Callable[..., Any] | None,
        initargs: tuple[Any, ...],
        max_tasks_per_worker: int | None,
        context: BaseContext | None,
        on_done: Callable[[object], None] | None,
    ) -> None:
        if max_workers > MAX_WORKERS:
            raise ValueError(f"max_workers must be at most {MAX_WORKERS} for processes, not {max_workers}")
        self._max_workers = max_workers
        self._initializer = initializer
        self._initargs = initargs
        self._max_tasks = max_tasks_per_worker
        self._context = multiprocessing.get_context() if context is None else context
        self._on_done = on_done
        # Memory is used only as tasks and results fill it.
        self._channel = Channel(_store_size())
        self._heads: dict[Any, bytes] = {}
        self._tasks: dict[int, Task] = {}
        self._frames: dict[int, Any] = {}  # of tasks that may be run again
        self._lock = threading.Lock()
        self._next = 0
        self._workers: dict[int, Worker] = {}
        self._free_slots = list(range(max_workers))
        self._collector: threading.Thread | None = None
        # Not the thread's own end: before 3.13, a join() that Ctrl-C ends takes a running thread for ended.
        self._collected = threading.Event()
        self._watcher: Watcher | None = None
        self._refusal: ExecutorError | Closed | None = None
        self._foreign = False
        self._failed_starts = 0
        self._counts = TaskCounts(succeeded=0, failed=0, cancelled=0, retried=0, died=0, timed_out=0, stuck=0)
        self._cancelled = 0
        self._unsent = 0

    # --- submitting -------------------------------------------------------------------------------

    def submit(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
        place: object = None,
    ) -> Task:
        task = Task(self, fn, options, place)
        try:
            with self._lock:
                if self._refusal is not None:
                    raise self._refusal_again()
                self._next = task.number = self._next + 1
                self._tasks[task.number] = task
                grow = bool(self._free_slots) and len(self._tasks) > len(self._workers)
            if grow:
                self._grow()
            if options.timeout is not None and self._watcher is not None:
                self._watcher.limit(task.number)
            self._send(task, fn, args, kwargs)
        except BaseException:
            # Perhaps Ctrl-C, wherever it came: nobody gets the future, so nothing may wait for it.  But what a worker
            # is at already ends as other tasks do.
            if task.number and not self.withdraw(task) and task.number not in (each.number for each in self.running()):
                self._tasks.pop(task.number, None)
                self._drop(task)
            raise
        return task

    def _send(self, task: Task, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        number = task.number
        try:
            frame = write_task(function_head(fn, self._heads), fn, args, kwargs)
            if task.options.retries:
                self._frames[number] = frame
            self._channel.put_task(number, frame, task.options.priority)
        except Closed:
            raise self._refusal_again() from None
        except Exception as exc:  # cannot be sent, or is larger than the store
            if self._tasks.pop(number, None) is not None:
                with self._lock:
                    self._unsent += 1
                task.set_exception(exc)
            self._drop(task)

    def _refusal_again(self) -> ExecutorError | Closed:
        refusal = self._refusal
        if refusal is None:
            return Closed("the executor was shut down: make a new one")
        return type(refusal)(*refusal.args)

    def withdraw(self, task: Task) -> bool:
        try:
            # A forked child has no tasks, and must not touch those of its parent.
            if task.number not in self._tasks or not self._channel.withdraw(task.number):
                return False
        except Closed:
            return False
        if self._tasks.pop(task.number, None) is None:
            return False
        with self._lock:
            self._cancelled += 1
        self._drop(task)
        return True

    def _drop(self, task: Task) -> None:
        """See to a task that was removed by others than the collector, which looks by itself whether all is done."""
        self._after(task)
        if self._refusal is not None:
            self._nudge()

    def is_queued(self, task: Task) -> bool:
        try:
            return task.number in self._tasks and self._channel.is_queued(task.number)
        except Closed:
            return False

    # --- workers ----------------------------------------------------------------------------------

    def _grow(self) -> None:
        """Start one more worker; with fork all of them, as long as this process may have a single thread."""
        with interrupts_later(), self._lock:
            fresh: list[Worker] = []
            try:
                count = len(self._free_slots)
                for _ in range(count if self._context.get_start_method() == "fork" else min(count, 1)):
                    fresh.append(self._start_worker())  # not a comprehension: those before one that fails are there
            finally:
                if self._collector is None and fresh:
                    self._watcher = Watcher(self._channel, self._limit_of, self._report_end)
                    self._collector = threading.Thread(target=self._collect, name="offgil-collector", daemon=True)
                    self._collector.start()
                for worker in fresh:
                    assert self._watcher is not None
                    self._watcher.add(worker)

    def _start_worker(self) -> Worker:
        slot = self._free_slots.pop()
        self._channel.mark(slot, starting=True)
        args = (self._channel, slot, self._initializer, self._initargs, self._max_tasks)
        try:
            # BaseContext has no Process of its own; each context that can be had does.
            make: Any = self._context
            process = make.Process(target=run_worker, args=args, name=f"offgil-worker-{slot}")
            process.start()
        except BaseException:
            self._free_slots.append(slot)
            raise
        worker = self._workers[slot] = Worker(process, slot)
        return worker

    def _limit_of(self, number: int) -> float | None:
        task = self._tasks.get(number)
        return None if task is None else task.options.timeout

    def _report_end(self, worker: Worker) -> None:
        with suppress(Closed):
            self._channel.put_news("d", worker.slot, None)

    # --- the collector's thread -------------------------------------------------------------------

    def _collect(self) -> None:
        take = self._channel.news.take
        try:
            while True:
                entry = take(None, None, None)
                assert entry is not None
                key, value = entry
                self._read(key[0], int(key[1:], 16), value)
                del entry, value
        except Closed:
            pass
        except BaseException as exc:  # a damaged store, or a callback that raises SystemExit: nobody may wait for ever
            self._break(f"the thread that collects results ended: {type(exc).__name__}: {exc}")
            self._channel.close()
        try:
            self._wind_up()
        finally:
            self._collected.set()

    def _read(self, letter: str, number: int, value: Any) -> None:
        if letter == "v":
            self._settle(number, value)
        elif letter == "p":
            try:
                result = read_pickle(in_place(self._channel.news, value))
            except Exception as exc:
                self._settle(number, exc=_unreadable(exc))
            else:
                self._settle(number, result)
        elif letter == "e":
            self._settle(number, exc=read_exception(value))
        elif letter == "d":
            self._bury(number)
        elif letter == "b":
            self._break(f"the initializer raised in a worker process:\n\n{value}")
        self._end_if_done()

    def _settle(self, number: int, result: Any = None, exc: BaseException | None = None) -> None:
        task = self._tasks.pop(number, None)
        if task is None:
            return
        try:
            if exc is None:
                self._counts["succeeded"] += 1
                task.set_result(result)
            else:
                self._counts["failed"] += 1
                task.set_exception(exc)
        except InvalidStateError:
            pass  # somebody else has settled it, though futures of an executor are not theirs to settle
        self._after(task)

    def _after(self, task: Task) -> None:
        """What is left to do for a task that was removed; a second time it does nothing."""
        task.fn = task.backend = None  # a future that is done needs neither
        if task.options is not DEFAULT:
            self._frames.pop(task.number, None)
            if task.options.timeout is not None and self._watcher is not None:
                self._watcher.unlimit(task.number)
        if self._on_done is not None:
            self._on_done(task.place)

    def _bury(self, slot: int) -> None:
        """Settle the task of a worker that has ended, and replace the worker."""
        with self._lock:
            worker = self._workers.pop(slot)
            self._free_slots.append(slot)
        claim = self._channel.claim(slot)
        if claim.starting:
            self._failed_starts += 1
        else:
            self._failed_starts = 0
        task = self._tasks.get(claim.number)
        lost = task is not None and not self._channel.is_queued(claim.number)
        if lost or worker.exitcode != 0:
            self._counts["died"] += 1
        if task is not None and lost:
            self._fail_task_of(worker, task)
        if self._failed_starts >= _FAILED_STARTS:
            self._break(
                f"{_FAILED_STARTS} worker processes in a row ended before they were ready, the last one "
                f"{_how(worker)}; see what they wrote to stderr"
            )
        elif self._refusal is None or len(self._tasks) > len(self._workers):
            try:
                self._grow()
            except Exception as exc:
                self._break(f"a worker process cannot be replaced: {type(exc).__name__}: {exc}")

    def _fail_task_of(self, worker: Worker, task: Task) -> None:
        name = name_of(task.fn)
        if worker.timed_out == task.number:
            self._counts["timed_out"] += 1
            limit = task.options.timeout
            self._settle(
                task.number,
                exc=TaskTimeout(f"{name} ran longer than its timeout of {limit} s; its worker process was killed"),
            )
        elif task.attempt <= task.options.retries:
            self._counts["retried"] += 1
            task.attempt += 1
            self._channel.put_task(task.number, self._frames[task.number], task.options.priority)
        else:
            tries = f", at attempt {task.attempt}" if task.attempt > 1 else ""
            exc = WorkerDied(f"the worker process {worker.pid} {_how(worker)} while it ran {name}{tries}")
            exc.pid, code = worker.pid, worker.exitcode
            if code is not None:
                exc.exitcode, exc.signal = (code, None) if code >= 0 else (None, -code)
            self._settle(task.number, exc=exc)

    def _break(self, why: str) -> None:
        with self._lock:
            self._refusal = BrokenExecutor(why)
            workers = list(self._workers.values())
        for worker in workers:
            worker.process.kill()
        for number in list(self._tasks):
            self._settle(number, exc=BrokenExecutor(why))

    def _end_if_done(self) -> None:
        if self._refusal is not None and not self._tasks:
            self._channel.close()

    def _wind_up(self) -> None:
        """The store is closed: workers end by themselves."""
        assert self._watcher is not None
        self._watcher.stop()
        for worker in list(self._workers.values()):
            worker.process.join()
        self._workers.clear()
        for number in list(self._tasks):
            self._settle(number, exc=self._refusal_again())

    # --- the end ----------------------------------------------------------------------------------

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None:
        if self._foreign:
            return
        with self._lock:
            if self._refusal is None:
                self._refusal = Closed("cannot submit: the executor was shut down; make a new one")
            collector = self._collector
        if cancel_futures:
            for task in self.tasks():
                task.cancel()
        self._nudge()
        if collector is None:
            self._channel.close()
        elif wait and collector is not threading.current_thread():
            self._collected.wait()
            collector.join()  # else the end of the interpreter could find it at its last steps

    def _nudge(self) -> None:
        """Have the collector look whether all is done."""
        with suppress(Closed, StoreFull):  # where there is no room, there are news, and it looks after each of them
            self._channel.put_news("s", 0, None, timeout=0)

    def interrupt(self) -> None:
        while self._tasks and self._collector is not None and not self._collected.is_set():
            for _, pid, _ in self.running():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGINT)
            # Again, for a task that was not begun yet when the signal came; each task is interrupted only once.
            self._collected.wait(0.1)

    def forget(self) -> None:
        # The locks and threads are the parent's; its store's handle in this process goes with the object.
        self._foreign = True
        # Else multiprocessing would try to join them when the child ends, and complain that they are none of its own.
        children: set[Any] = getattr(multiprocessing.process, "_children", set())
        children.difference_update([worker.process for worker in self._workers.values()])
        self._lock = threading.Lock()
        self._refusal = Closed(f"this executor belongs to process {os.getppid()}, this is a fork of it: make a new one")
        self._tasks = {}
        self._workers = {}

    # --- reports ----------------------------------------------------------------------------------

    def running(self) -> list[Running]:
        running = []
        with self._lock:
            workers = list(self._workers.values())
        for worker in workers:
            claim = self._channel.claim(worker.slot)
            if claim.number in self._tasks:
                running.append(Running(claim.number, worker.pid, claim.since))
        return running

    def tasks(self) -> list[Task]:
        return list(self._tasks.values())

    def counts(self) -> TaskCounts:
        return {**self._counts, "cancelled": self._cancelled, "failed": self._counts["failed"] + self._unsent}

    @property
    def workers(self) -> int:
        return len(self._workers)

    @property
    def submitted(self) -> int:
        return self._next


def _unreadable(exc: Exception) -> CodecError:
    made = CodecError(f"the result cannot be made in this process: {type(exc).__name__}: {exc}")
    made.__cause__ = exc
    return made


def _how(worker: Worker) -> str:
    code = worker.exitcode
    if code is None:
        return "ended"
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def _store_size() -> int:
    """Of each of the two stores: a quarter of the machine's memory, within what a store can be."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(max(memory // 4, 64 << 20), 64 << 30)
