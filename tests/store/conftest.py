"""Both stores, and threads that start together."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import offgil
from offgil import ResultStore

InParallel = Callable[..., list[object]]


def make_store(kind: str) -> ResultStore:
    if kind == "managed":
        if sys.platform != "linux":
            pytest.skip("the managed-dict store needs Linux")
        pytest.importorskip("offgil.store.managed", reason="this build has no managed-dict store")
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
def in_parallel() -> Iterator[InParallel]:
    # Fresh threads, so that threads start and end during the tests; a short switch interval finds on a GIL build the
    # races that a free-threaded one has by nature.
    def run(*bodies: Callable[[], object]) -> list[object]:
        start = threading.Barrier(len(bodies))
        results: list[object] = [None] * len(bodies)
        errors: list[BaseException] = []

        def work(i: int) -> None:
            try:
                start.wait()
                results[i] = bodies[i]()
            except BaseException as exc:
                errors.append(exc)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(bodies))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return results

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield run
    sys.setswitchinterval(interval)
