"""Every store, threads that race each other, and who is on the other side."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import offgil
from offgil import ResultStore
from store_sides import MakeStore, Processes, Threads

InParallel = Callable[..., list[object]]

#: Which stores cross which border.
SIDES = {"shared-threads": Threads, "managed-threads": Threads, "managed-processes": Processes}


def open_kind(kind: str, **options: Any) -> ResultStore:
    if kind == "managed":
        if sys.platform != "linux":
            pytest.skip("the managed-dict store needs Linux")
        return offgil.open_store("managed", **{"max_bytes": 64 << 20} | options)
    return offgil.open_store(kind, **options)


@pytest.fixture(params=["shared", "managed"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_store(kind: str) -> Iterator[MakeStore]:
    """Open a store with options; it is closed at the end."""
    opened: list[ResultStore] = []

    def make(**options: Any) -> ResultStore:
        opened.append(open_kind(kind, **options))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


@pytest.fixture
def store(make_store: MakeStore) -> ResultStore:
    return make_store()


@pytest.fixture(params=SIDES)
def border(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def side(border: str) -> Threads | Processes:
    return SIDES[border]()


@pytest.fixture
def bordered(border: str) -> Iterator[ResultStore]:
    """A store that the other side can be given."""
    with open_kind(border.partition("-")[0]) as opened:
        yield opened


@pytest.fixture
def in_parallel(barrier_threads: Callable[..., list[object]]) -> Iterator[InParallel]:
    """Run each function in a fresh thread, all let go at once; return what they returned."""
    # A short switch interval finds on a GIL build the races that a free-threaded one has by nature.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield lambda *bodies: barrier_threads(len(bodies), lambda i: bodies[i]())
    sys.setswitchinterval(interval)
