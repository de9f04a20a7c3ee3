"""An executor of each kind."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from offgil import Executor

MakeExecutor = Callable[..., Executor]

# The default of 3.13 and older is fork.  These tests run in a process with threads of other tests, and CPython warns of
# forking there, rightly.
START_METHOD = "forkserver"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"))


@pytest.fixture(params=["threads", "processes"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "processes" and sys.platform != "linux":
        pytest.skip("worker processes need Linux")
    return str(request.param)


@pytest.fixture
def make(kind: str) -> Iterator[MakeExecutor]:
    """Make executors of this kind, which end with the test."""
    with ExitStack() as stack:

        def make_one(max_workers: int = 2, *, method: str = START_METHOD, **options: Any) -> Executor:
            context = multiprocessing.get_context(method)
            return stack.enter_context(Executor(max_workers, workers=kind, context=context, **options))

        yield make_one


@pytest.fixture
def executor(make: MakeExecutor) -> Executor:
    return make()
