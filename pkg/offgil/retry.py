"""When a failed request is sent again, and how long to wait before."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from offgil.errors import DeadlineExceeded, LocalProtocolError, TransportError, UnsupportedProtocol

if TYPE_CHECKING:
    from offgil.response import Head

__all__ = ["Retry", "parse_retry_after"]

_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?")


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for.

    Args:
        value: the header, in seconds or as an HTTP date; ``None`` if there is none.
        now: what a date is measured against; the current time by default.

    Returns:
        Seconds, 0 for a date in the past; ``None`` without a header or for one that makes no sense.
    """
    if value is None:
        return None
    value = value.strip()
    if _SECONDS.fullmatch(value):  # RFC 9110 allows whole seconds only; some servers send fractions
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # "-0000" means UTC of unknown origin
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())


@dataclass(frozen=True, slots=True)
class Retry:
    """A policy for sending failed requests again.

    Attributes:
        attempts: how often a request is sent at most, the first time included.
        backoff: seconds before the second attempt; doubles with each further one.
        jitter: share of each delay that is drawn at random, 0 to 1, so that clients that failed together do
            not come back together.
        max_delay: the longest delay in seconds.  A server that asks for more than that is not asked again:
            its answer stands.
        statuses: the status codes that are worth another attempt.
        respect_retry_after: wait at least as long as the server's ``Retry-After`` says.
        methods: the methods that :class:`~offgil.Client` sends again: those that do no harm the second time.  Add
            ``"POST"`` where yours does not either.  (``offgil batch`` sends every method again.)

    Thread-safety: safe on shared objects (immutable).
    """

    attempts: int = 6
    backoff: float = 0.5
    jitter: float = 0.5
    max_delay: float = 120.0
    statuses: frozenset[int] = frozenset({408, 429, *range(500, 600)})
    respect_retry_after: bool = True
    methods: frozenset[str] = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts counts the first one too and must be at least 1, not {self.attempts}")
        if not (self.backoff >= 0 and self.max_delay >= 0):
            raise ValueError(f"backoff and max_delay are seconds >= 0, not {self.backoff} and {self.max_delay}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is a share from 0 to 1, not {self.jitter}")

    def covers(self, error: Exception) -> bool:
        """Whether another attempt may cure ``error``: the way to the server failed, not the request."""
        incurable = LocalProtocolError | UnsupportedProtocol | DeadlineExceeded
        return isinstance(error, TransportError) and not isinstance(error, incurable)

    def pause_after(self, attempt: int, outcome: Head | Exception) -> float | None:
        """Seconds to wait after attempt number ``attempt`` (from 1) had that outcome; ``None`` to let it stand."""
        if isinstance(outcome, Exception):
            return self.delay(attempt) if self.covers(outcome) else None
        if outcome.status_code not in self.statuses:
            return None
        return self.delay(attempt, parse_retry_after(outcome.headers.get("retry-after")))

    def delay(
        self, attempt: int, retry_after: float | None = None, *, draw: Callable[[], float] = random.random
    ) -> float | None:
        """Seconds to wait after attempt number ``attempt`` (from 1) failed; ``None`` to give up.

        Args:
            attempt: how often the request was sent so far.
            retry_after: what the server asked for, see :func:`parse_retry_after`.
            draw: returns a random number in [0, 1).
        """
        if attempt >= self.attempts:
            return None
        # The exponent is bounded only to keep the power finite; max_delay is long reached by then.
        full = min(self.max_delay, self.backoff * 2.0 ** min(attempt - 1, 64))
        if retry_after is None or not self.respect_retry_after:
            return full * (1 - self.jitter * draw())
        if retry_after > self.max_delay:
            return None
        # The server's word is a lower bound, so here jitter only adds.
        return retry_after + full * self.jitter * draw()
