"""One thread that sees worker processes end, and ends those whose task is over its time.

A process is watched through a pidfd: unlike multiprocessing's sentinel pipe, it cannot be held open by a process that
the worker itself has started.
"""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from offgil.executor.channel import Channel, Claim

__all__ = ["Watcher", "Worker"]

#: Seconds between two looks at the claims, while there are tasks with a time limit.
_TICK = 0.02
#: Seconds that a stopped process may take to stop.
_STOPPING = 1.0


class Worker:
    """A worker process and the slot of its claim.

    Locking: none; all but ``timed_out`` is set once, and that by the watcher before it reports the death.
    """

    def __init__(self, process: BaseProcess, slot: int) -> None:
        assert process.pid is not None
        self.process = process
        self.slot = slot
        self.pid = process.pid
        self.exitcode: int | None = None
        #: Number of the task for whose time limit the process was killed.
        self.timed_out = 0

    def reap(self) -> None:
        """Learn how the process ended."""
        self.process.join(1)
        self.exitcode = self.process.exitcode


class Watcher:
    """Reports each worker that has ended, once, from its thread.

    Args:
        channel: whose claims say what the workers run.
        limit_of: the time limit, in seconds, of the task of that number.
        report: called with each worker that has ended, after all that the worker itself has sent.

    Thread-safety: safe on shared objects.
    """

    def __init__(
        self, channel: Channel, limit_of: Callable[[int], float | None], report: Callable[[Worker], None]
    ) -> None:
        self._channel = channel
        self._limit_of = limit_of
        self._report = report
        self._lock = threading.Lock()  # guards the next three
        self._fresh: list[Worker] = []
        self._limited: set[int] = set()
        self._stopped = False
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._watch, name="offgil-watcher", daemon=True)
        self._thread.start()

    def add(self, worker: Worker) -> None:
        """Watch one more."""
        with self._lock:
            self._fresh.append(worker)
            self._ring()

    def limit(self, number: int) -> None:
        """Say that the task of that number has a time limit."""
        with self._lock:
            if not self._limited:
                self._ring()
            self._limited.add(number)

    def unlimit(self, number: int) -> None:
        """Say that this task is done, or that it never was."""
        with self._lock:
            self._limited.discard(number)

    def stop(self) -> None:
        """End the thread and wait for it."""
        with self._lock:
            self._ring()
            self._stopped = True
        self._thread.join()
        os.close(self._bell)

    def _ring(self) -> None:
        """Called with the lock held."""
        if not self._stopped:  # then the bell is gone, and its number may be another file's
            os.eventfd_write(self._bell, 1)

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        watched: dict[int, Worker] = {}
        try:
            while True:
                with self._lock:
                    fresh, self._fresh = self._fresh, []
                    if self._stopped:
                        return
                    timeout = _TICK * 1000 if self._limited else None
                for worker in fresh:
                    try:
                        fd = os.pidfd_open(worker.pid)
                    except ProcessLookupError:  # it has ended, and was reaped by the fork server
                        self._end(worker)
                        continue
                    watched[fd] = worker
                    poll.register(fd, select.POLLIN)
                for fd, _ in poll.poll(timeout):
                    if fd == self._bell:
                        os.eventfd_read(self._bell)
                        continue
                    poll.unregister(fd)
                    os.close(fd)
                    self._end(watched.pop(fd))
                if timeout is not None:
                    for worker in watched.values():
                        self._check_limit(worker)
        finally:
            for fd in watched:
                os.close(fd)

    def _end(self, worker: Worker) -> None:
        worker.reap()
        self._report(worker)

    def _check_limit(self, worker: Worker) -> None:
        claim = self._channel.claim(worker.slot)
        if worker.timed_out or not self._is_over(claim):
            return
        # It may be done with this task at this very moment, and must not be killed in its next one.  So it is stopped
        # first, and killed only if it is still at it.
        try:
            os.kill(worker.pid, signal.SIGSTOP)
            _await_stop(worker.pid)
            if self._channel.claim(worker.slot) == claim:
                worker.timed_out = claim.number
                os.kill(worker.pid, signal.SIGKILL)
            else:
                os.kill(worker.pid, signal.SIGCONT)
        except ProcessLookupError:
            pass  # its end is reported anyway

    def _is_over(self, claim: Claim) -> bool:
        limit = self._limit_of(claim.number)
        return limit is not None and time.monotonic() - claim.since > limit


def _await_stop(pid: int) -> None:
    """Return once the process is stopped or gone."""
    until = time.monotonic() + _STOPPING
    while time.monotonic() < until:
        try:
            # The state follows the name, which is in parentheses and may hold anything.
            with open(f"/proc/{pid}/stat") as file:
                state = file.read().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state in "tTZX":
            return
        time.sleep(0.0005)
