"""The end of the interpreter, and forks: what concerns all executors of a process."""

from __future__ import annotations

import atexit
import os
import weakref

from offgil.executor.tasks import Backend

__all__ = ["watch_over"]

_backends: weakref.WeakSet[Backend] = weakref.WeakSet()


def watch_over(backend: Backend) -> None:
    """Have the backend end in time, and not be used by forks of this process."""
    _backends.add(backend)
    # Last registered, first called: before multiprocessing waits for its processes, in whatever order things were
    # imported.
    atexit.unregister(_finish)
    atexit.register(_finish)


def _finish() -> None:
    # As concurrent.futures does it: what was submitted is run to its end.  The threads are daemons, so nobody has
    # waited for them before this.
    for backend in list(_backends):
        backend.shutdown(wait=True, cancel_futures=False)


def _after_fork() -> None:
    for backend in list(_backends):
        backend.forget()
    _backends.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
