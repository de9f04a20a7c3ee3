"""Both stores, and threads that race each other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

import offgil
from offgil import ResultStore

InParallel = Callable[..., list[object]]


def make_store(kind: str) -> ResultStore:
    if kind == "managed":
        if sys.platform != "linux":
            pytest.skip("the managed-dict store needs Linux")
        return offgil.open_store("managed", max_bytes=64 << 20)
    return offgil.open_store(kind)


@pytest.fixture(params=["shared", "managed"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str) -> Iterator[ResultStore]:
    with make_store(kind) as opened:
        yield opened


@pytest.fixture
def in_parallel(barrier_threads: Callable[..., list[object]]) -> Iterator[InParallel]:
    """Run each function in a fresh thread, all let go at once; return what they returned."""
    # A short switch interval finds on a GIL build the races that a free-threaded one has by nature.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield lambda *bodies: barrier_threads(len(bodies), lambda i: bodies[i]())
    sys.setswitchinterval(interval)
