"""Rate limits per minute."""

from __future__ import annotations

import math

__all__ = ["TokenBucket"]


class TokenBucket:
    """A token bucket that holds one second's worth, so that a minute's limit is not spent at once.

    It may go into debt: a cost larger than the bucket passes when the bucket is not empty, and what follows
    waits.

    Args:
        per_minute: the limit; ``math.inf`` for none.
        now: seconds on a monotonic clock, the same one for every call.

    Thread-safety: compatible.
    """

    __slots__ = ("_capacity", "_level", "_per_second", "_updated")

    def __init__(self, per_minute: float, now: float) -> None:
        if not per_minute > 0:
            raise ValueError(f"a rate limit must be positive, not {per_minute}")
        self._per_second = per_minute / 60
        self._capacity = max(1.0, self._per_second)
        self._level = self._capacity
        self._updated = now

    def pause(self, now: float) -> float:
        """Seconds until something may be taken; 0 for at once."""
        if self._per_second == math.inf:
            return 0.0
        self._level = min(self._capacity, self._level + (now - self._updated) * self._per_second)
        self._updated = now
        # One whole unit, else a limit on requests would let the next one pass a fraction too early.
        return max(0.0, (1 - self._level) / self._per_second)

    def take(self, amount: float) -> None:
        """Take ``amount``; negative gives back what was taken in excess."""
        self._level -= amount
