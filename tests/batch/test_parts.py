from __future__ import annotations

import math
import random

import pytest

from offgil.batch.ids import IdSet
from offgil.batch.rate import TokenBucket
from offgil.batch.source import join_url
from offgil.batch.summary import Histogram


def test_id_set_agrees_with_a_set() -> None:
    draw = random.Random(1).randrange
    ids, reference = IdSet(), set[str]()
    for _ in range(20_000):
        key = f"request-{draw(15_000)}"
        assert (key in ids) == (key in reference)
        assert ids.add(key) == (key not in reference)
        reference.add(key)
    assert len(ids) == len(reference)
    assert all(key in ids for key in reference)


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        ("https://h", "/v1/chat", "https://h/v1/chat"),
        ("https://h/", "/v1/chat", "https://h/v1/chat"),
        ("https://h/v1", "/v1/chat", "https://h/v1/chat"),
        ("https://h/v1/", "/v1/chat", "https://h/v1/chat"),
        ("https://h/openai/v1", "/v1/chat", "https://h/openai/v1/chat"),
        ("https://h/openai/v1", "/openai/v1/chat", "https://h/openai/v1/chat"),
        ("https://h/proxy", "/v1/chat", "https://h/proxy/v1/chat"),
        ("https://h/v1", "/v10/chat", "https://h/v1/v10/chat"),
        ("https://h/v1", "/v1", "https://h/v1/v1"),
        ("https://h/v1", "//elsewhere/x", "https://h/v1//elsewhere/x"),
    ],
)
def test_join_url(base: str, path: str, url: str) -> None:
    assert join_url(base, path) == url


def test_bucket_holds_a_second_and_fills_evenly() -> None:
    bucket = TokenBucket(600, now=100.0)  # ten a second
    for _ in range(10):
        assert bucket.pause(100.0) == 0
        bucket.take(1)
    assert bucket.pause(100.0) == pytest.approx(0.1)
    assert bucket.pause(100.05) == pytest.approx(0.05)
    assert bucket.pause(100.1) == pytest.approx(0)
    assert bucket.pause(1000.0) == 0
    for _ in range(10):
        bucket.take(1)
    assert bucket.pause(1000.0) > 0  # a long rest saves up one second's worth, no more


def test_bucket_slower_than_one_a_second_lets_one_through() -> None:
    bucket = TokenBucket(6, now=0.0)
    assert bucket.pause(0.0) == 0
    bucket.take(1)
    assert bucket.pause(0.0) == pytest.approx(10)


def test_bucket_pays_back_a_cost_beyond_its_size_and_takes_back_excess() -> None:
    bucket = TokenBucket(6000, now=0.0)  # a hundred a second
    bucket.take(1100)
    assert bucket.pause(0.0) == pytest.approx(10.01)
    bucket.take(-1000)
    assert bucket.pause(0.0) == pytest.approx(0.01)


def test_bucket_without_limit_never_pauses() -> None:
    bucket = TokenBucket(math.inf, now=0.0)
    bucket.take(1e12)
    assert bucket.pause(0.0) == 0


def test_histogram_quantiles_are_within_two_percent() -> None:
    draw = random.Random(2)
    values = sorted(draw.lognormvariate(-3, 2) for _ in range(10_000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    for share in (0.5, 0.9, 0.99):
        exact = values[math.ceil(share * len(values)) - 1]
        assert exact <= histogram.quantile(share) <= exact * 1.022
    assert histogram.latency().max == values[-1]


def test_histogram_takes_any_duration() -> None:
    histogram = Histogram()
    assert histogram.quantile(0.99) == 0
    for value in (0.0, 1e-9, 1e9):
        histogram.add(value)
    assert histogram.quantile(0.5) <= 2e-6
    assert histogram.quantile(1) <= histogram.latency().max == 1e9
