"""Back-pressure: a bound on the tasks that are not done."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future

__all__ = ["Room"]


class Room:
    """So many places, given out in order of asking.

    Unlike a semaphore, whoever finds none gets a future, so that threads and event loops wait alike.

    Thread-safety: safe on shared objects.
    """

    def __init__(self, places: int) -> None:
        self._lock = threading.Lock()  # guards the next two; never held while a future is settled
        self._free = places
        self._waiting: deque[Future[None]] = deque()

    def ask(self) -> Future[None] | None:
        """Take a place, or get a future that is done when one was; cancelling it gives up."""
        with self._lock:
            if self._free:
                self._free -= 1
                return None
            future: Future[None] = Future()
            self._waiting.append(future)
            return future

    def leave(self) -> None:
        """Give a place back."""
        while True:
            with self._lock:
                if not self._waiting:
                    self._free += 1
                    return
                future = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                future.set_result(None)
                return
