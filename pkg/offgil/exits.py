"""Learning in an event loop that a process has ended, whoever its parent is."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

__all__ = ["Exits"]

_logger = logging.getLogger(__name__)


class Exits:
    """Processes whose end is told to ``callback`` by their pid, in the event loop that runs where this is made.

    Thread-safety: incompatible; belongs to the thread of its event loop.
    """

    def __init__(self, callback: Callable[[int], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback = callback
        self._watched: dict[int, int | None] = {}  # pid -> pidfd, None if there is none

    def watch(self, pid: int) -> None:
        """Tell when that process ends, once; soon, if it has ended.  Idempotent.

        Where the system gives no pidfd (too many open files, a sandbox), this logs it and nothing is told.
        """
        if pid in self._watched:
            return
        try:
            self._watched[pid] = pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._watched[pid] = None
            self._loop.call_soon(self._tell, pid)
        except OSError as exc:
            self._watched[pid] = None
            _logger.warning("the end of process %d will not be noticed: %s", pid, exc)
        else:
            self._loop.add_reader(pidfd, self._tell, pid)

    def close(self) -> None:
        """Tell no more."""
        for pid in list(self._watched):
            self._forget(pid)

    def _tell(self, pid: int) -> None:
        if pid in self._watched:
            self._forget(pid)
            self._callback(pid)

    def _forget(self, pid: int) -> None:
        if (pidfd := self._watched.pop(pid)) is not None:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)
