"""Back-pressure: a bound on the tasks that are not done."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from typing import Protocol

__all__ = ["Room", "Turn"]


class _Holder(Protocol):
    def release(self) -> object: ...


class Turn(Future[None]):
    """A holder for event loops: a future that is done once there is a place.  For threads a lock does the same.

    Thread-safety: safe on shared objects.
    """

    def release(self) -> None:
        if self.set_running_or_notify_cancel():
            self.set_result(None)


class Room:
    """So many places, given out in order of asking.

    It knows who has one rather than how many there are: Ctrl-C may end a submit anywhere, and nobody need know how far
    it came.

    Thread-safety: safe on shared objects.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._lock = threading.Lock()  # guards the next two; never held while a holder is released
        self._holders: set[object] = set()
        self._waiting: OrderedDict[object, _Holder] = OrderedDict()

    def ask(self, holder: _Holder) -> bool:
        """Take a place, or if there is none, have ``holder`` released once it has one.  It must leave either way."""
        with self._lock:
            if len(self._holders) < self._places:
                self._holders.add(holder)
                return True
            self._waiting[holder] = holder
            return False

    def leave(self, holder: object) -> None:
        """Give back the place, or give up the wait for one, if ``holder`` has either."""
        served = []
        with self._lock:
            self._holders.discard(holder)
            self._waiting.pop(holder, None)
            while self._waiting and len(self._holders) < self._places:
                _, following = self._waiting.popitem(last=False)
                self._holders.add(following)
                served.append(following)
        for each in served:
            each.release()
