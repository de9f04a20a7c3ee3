"""A task: the future that ``submit`` returns, what it was submitted with, and what is told about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypedDict

__all__ = ["DEFAULT", "Backend", "ExecutorStats", "Options", "Running", "Task", "TaskCounts", "TaskReport", "name_of"]


class Options(NamedTuple):
    """How a task is run; :meth:`offgil.Executor.options` documents the members."""

    priority: int = 0
    timeout: float | None = None
    retries: int = 0
    submit_timeout: float | None = None

    def check(self) -> Options:
        """Return these options; raise :class:`TypeError` or :class:`ValueError` for one that cannot be."""
        for name, number in (("priority", self.priority), ("retries", self.retries)):
            if not isinstance(number, int):
                raise TypeError(f"{name} must be an int, not {type(number).__name__}")
        if not 0 <= self.priority <= 63:
            raise ValueError(f"priority must be 0 to 63, not {self.priority}")
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError(f"timeout must be None or a number of seconds above 0, not {self.timeout!r}")
        if self.retries < 0:
            raise ValueError(f"retries must be 0 or more, not {self.retries}")
        if self.submit_timeout is not None and not self.submit_timeout >= 0:
            raise ValueError(f"submit_timeout must be None or a number of seconds from 0, not {self.submit_timeout!r}")
        return self


#: What ``submit`` itself uses.
DEFAULT = Options()


@dataclass(frozen=True, slots=True)
class TaskReport:
    """A task that is not done, as :meth:`offgil.Executor.snapshot` saw it.

    Attributes:
        number: counts the executor's tasks, from 1.
        name: of its function.
        state: ``"pending"`` or ``"running"``.
        worker: pid of the process, or name of the thread, that runs it.
        age: seconds since it was submitted.
        running_for: seconds since it was started.
        priority: what it was submitted with.
        attempt: 1, and one more for each time that its worker died and it was started again.

    Thread-safety: safe on shared objects; it never changes.
    """

    number: int
    name: str
    state: str
    worker: int | str | None
    age: float
    running_for: float | None
    priority: int
    attempt: int


@dataclass(frozen=True, slots=True)
class ExecutorStats:
    """Counters of an executor.

    Attributes:
        workers: processes or threads there are now.
        submitted: tasks taken on.
        pending: tasks that wait for a worker.
        running: tasks that workers run now.
        succeeded: tasks that have a result.
        failed: tasks that have an exception, for whatever reason.
        cancelled: tasks that were cancelled before they ran.
        retried: starts of a task after its worker died.
        died: workers that ended while they should not have.
        timed_out: tasks that ran over their ``timeout``.
        stuck: threads that still run a task that is over its ``timeout``.

    Thread-safety: safe on shared objects; it never changes.
    """

    workers: int
    submitted: int
    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    retried: int = 0
    died: int = 0
    timed_out: int = 0
    stuck: int = 0


class TaskCounts(TypedDict):
    """The counters that each backend keeps itself."""

    succeeded: int
    failed: int
    cancelled: int
    retried: int
    died: int
    timed_out: int
    stuck: int


class Running(NamedTuple):
    """A worker and its task."""

    number: int
    worker: int | str
    since: float  # of time.monotonic()


class Backend(Protocol):
    """What the executor needs of its threads or processes.

    Thread-safety: safe on shared objects.
    """

    def submit(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
        place: object = None,
    ) -> Task:
        """``on_done`` is called with ``place`` once the task is done, and perhaps again."""

    def withdraw(self, task: Task) -> bool:
        """Take a task back that no worker has begun; its future is the caller's to settle."""

    def is_queued(self, task: Task) -> bool: ...
    def running(self) -> list[Running]: ...
    def tasks(self) -> list[Task]: ...
    def counts(self) -> TaskCounts: ...
    @property
    def workers(self) -> int: ...
    @property
    def submitted(self) -> int: ...
    def interrupt(self) -> None:
        """Have running tasks end where that is possible, and never wait for those where it is not."""

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None: ...
    def forget(self) -> None:
        """In a forked child: refuse everything, and touch nothing of the parent's."""


class Task(Future[Any]):
    """The future of one task.

    Its base class counts it as pending until it is done; whether it runs is asked of the backend, so that starting a
    task costs no message.
    """

    #: 1, and one more each time that it is started again.
    attempt = 1

    def __init__(self, backend: Backend, fn: Callable[..., Any], options: Options, place: object) -> None:
        super().__init__()
        self.number = 0  # until the backend has taken it on
        self.options = options
        self.place = place  # in the executor's room
        self.submitted = time.monotonic()
        self.fn: Callable[..., Any] | None = fn  # for its name; dropped when done
        self.backend: Backend | None = backend  # likewise

    def cancel(self) -> bool:
        backend = self.backend
        if backend is None or not backend.withdraw(self):
            return self.cancelled()
        super().cancel()
        self.set_running_or_notify_cancel()
        return True

    def running(self) -> bool:
        backend = self.backend
        return backend is not None and not self.done() and not backend.is_queued(self)


def name_of(fn: Callable[..., Any] | None) -> str:
    """What people call a function."""
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__
