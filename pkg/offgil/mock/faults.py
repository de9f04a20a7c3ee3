"""What the mock server does wrong on purpose: late answers, errors, slow and broken streams.

The server's options draw for all requests; a request asks for itself by its header:

    x-mock-status: 429 500       statuses of its first attempts, as `x-stainless-retry-count` numbers them (OpenAI's
                                 and Anthropic's SDKs send it; without it each attempt is the first)
    x-mock-delay: SECONDS        before the answer starts
    x-mock-first-token: SECONDS  between a stream's header and its first event
    x-mock-interval: SECONDS     between a stream's events
    x-mock-break: COUNT          the connection ends after so many events of a stream
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from offgil.mock.answer import BadRequest

__all__ = ["UNTOUCHED", "Faults", "Plan", "Settings"]

_NAMES = {b"x-mock-status", b"x-mock-delay", b"x-mock-first-token", b"x-mock-interval", b"x-mock-break"}
_STATUSES = (429, 500, 503)
_LONGEST = 3600.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server behaves.

    Attributes:
        latency: seconds before an answer to a POST starts.
        jitter: up to so many seconds more, drawn per request.
        error_rate: fraction of POSTs that get 429, 500 and 503 in turn.
        retry_after: seconds named in the ``Retry-After`` of a 429.
        seed: of the draws; which request of the sequence fails depends on nothing else.
    """

    latency: float = 0.0
    jitter: float = 0.0
    error_rate: float = 0.0
    retry_after: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What befalls one request; times in seconds."""

    status: int | None = None  # an error instead of the answer
    delay: float = 0.0
    first_token: float = 0.0
    interval: float = 0.0
    break_after: int | None = None  # events


#: No fault.
UNTOUCHED = Plan()


class Faults:
    """Plans each POST, in order of arrival."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._random = random.Random(settings.seed).random
        self._failed = 0
        self.retry_after = ((b"retry-after", f"{settings.retry_after:g}".encode()),)

    def plan(self, headers: Mapping[bytes, bytes]) -> Plan:
        """Draw what befalls a request; raise BadRequest if its header asks for what makes no sense."""
        settings = self._settings
        status = self._error()
        delay = settings.latency + (settings.jitter * self._random() if settings.jitter else 0.0)
        if _NAMES.isdisjoint(headers):
            return Plan(status, delay) if status or delay else UNTOUCHED
        try:
            return Plan(
                _attempt(headers) or status,
                _seconds(headers, b"x-mock-delay", delay),
                _seconds(headers, b"x-mock-first-token"),
                _seconds(headers, b"x-mock-interval"),
                _count(headers, b"x-mock-break"),
            )
        except ValueError as error:
            raise BadRequest(f"The header does not say what is wanted of the mock server: {error}") from None

    def _error(self) -> int | None:
        if not self._settings.error_rate or self._random() >= self._settings.error_rate:
            return None
        self._failed += 1
        return _STATUSES[(self._failed - 1) % len(_STATUSES)]


def _attempt(headers: Mapping[bytes, bytes]) -> int | None:
    """The status for this attempt, if its header names one."""
    statuses = [int(status) for status in headers.get(b"x-mock-status", b"").split()]
    if not all(400 <= status <= 599 for status in statuses):
        raise ValueError("a status is a number from 400 to 599")
    number = int(headers.get(b"x-stainless-retry-count", b"0"))
    return statuses[number] if 0 <= number < len(statuses) else None


def _seconds(headers: Mapping[bytes, bytes], name: bytes, default: float = 0.0) -> float:
    if name not in headers:
        return default
    seconds = float(headers[name])
    if not 0 <= seconds <= _LONGEST:
        raise ValueError(f"{name.decode()} is a number of seconds from 0 to {_LONGEST:g}")
    return seconds


def _count(headers: Mapping[bytes, bytes], name: bytes) -> int | None:
    if name not in headers:
        return None
    count = int(headers[name])
    if count < 0:
        raise ValueError(f"{name.decode()} is a number from 0 up")
    return count
