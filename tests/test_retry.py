from __future__ import annotations

from datetime import UTC, datetime

import pytest

from offgil import errors
from offgil.retry import Retry, parse_retry_after

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("0.25", 0.25),
        ("Fri, 02 Jan 2026 03:05:05 GMT", 60),
        ("Fri, 02 Jan 2026 03:05:05 -0000", 60),
        ("Fri, 02 Jan 2026 04:05:05 +0100", 60),
        ("Fri, 02 Jan 2026 03:00:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("inf", None),
        ("1e9", None),
        ("9" * 400, None),
        ("Fri, 99 Jan 2026 03:05:05 GMT", None),
        ("Fri, 02 Jan 99999999999999999999 03:05:05 GMT", None),
    ],
)
def test_parse_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


def test_backoff_doubles_up_to_its_limit_and_attempts_end() -> None:
    retry = Retry(attempts=6, backoff=1, jitter=0, max_delay=5)
    assert [retry.delay(attempt) for attempt in range(1, 7)] == [1, 2, 4, 5, 5, None]
    assert Retry(attempts=10_000, jitter=0).delay(9_999) == 120


def test_jitter_shortens_the_backoff_but_never_what_the_server_asked_for() -> None:
    retry = Retry(backoff=8, jitter=0.5)
    assert retry.delay(1, draw=lambda: 0.0) == 8
    assert retry.delay(1, draw=lambda: 1.0) == 4
    assert retry.delay(1, 20, draw=lambda: 0.0) == 20
    assert retry.delay(1, 20, draw=lambda: 1.0) == 24
    assert all(4 <= delay <= 8 for delay in (retry.delay(1) for _ in range(100)) if delay is not None)


def test_retry_after_is_bounded_and_optional() -> None:
    assert Retry(max_delay=60).delay(1, 61) is None
    assert Retry(max_delay=60, jitter=0, respect_retry_after=False, backoff=2).delay(1, 61) == 2
    assert Retry(attempts=1).delay(1, 0) is None


@pytest.mark.parametrize(
    ("error", "covered"),
    [
        (errors.ConnectError("x"), True),
        (errors.ConnectTimeout("x"), True),
        (errors.ReadTimeout("x"), True),
        (errors.ReadError("x"), True),
        (errors.RemoteProtocolError("x"), True),
        (errors.LocalProtocolError("x"), False),
        (errors.UnsupportedProtocol("x"), False),
        (errors.TooManyRedirects("x"), False),
        (errors.InvalidURL("x"), False),
    ],
)
def test_errors_worth_another_attempt(error: Exception, covered: bool) -> None:
    assert Retry().covers(error) is covered


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"backoff": -1},
        {"jitter": 2},
        {"jitter": -0.1},
        {"max_delay": -1},
        {"backoff": float("nan")},
    ],
)
def test_nonsense_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not"):
        Retry(**options)  # type: ignore[arg-type]
