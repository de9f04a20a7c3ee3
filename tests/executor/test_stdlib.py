"""CPython's own tests of concurrent.futures, with our executor in place of its own.

They are classes that make ``self.executor`` from ``executor_type`` with the arguments of the standard library's
executors; ``Adapted`` translates those.
"""

from __future__ import annotations

import sys
import threading
import unittest
from functools import partial
from typing import Any

import pytest

from offgil import Executor

pytest.importorskip(
    "test.test_concurrent_futures.executor", reason="this interpreter has no test package, or an older layout of it"
)

from test.test_concurrent_futures import executor as stdlib_executor
from test.test_concurrent_futures import test_as_completed, test_wait
from test.test_concurrent_futures.util import ExecutorMixin


class Adapted(Executor):
    """Takes what the standard executors take."""

    def __init__(self, max_workers: int, mp_context: Any = None, **options: Any) -> None:
        super().__init__(max_workers, context=mp_context, **options)


class Threads(ExecutorMixin):
    executor_type = staticmethod(partial(Adapted, workers="threads"))

    def create_event(self) -> threading.Event:
        return threading.Event()


class Processes(ExecutorMixin):
    executor_type = staticmethod(partial(Adapted, workers="processes"))
    ctx = "forkserver"

    def create_event(self) -> threading.Event:
        return self.manager.Event()


SUITES = {
    "executor": stdlib_executor.ExecutorTest,
    "as_completed": test_as_completed.AsCompletedTests,
    "wait": test_wait.WaitTests,
}


def cases() -> list[Any]:
    found = []
    for mixin in (Threads, Processes) if sys.platform == "linux" else (Threads,):
        for name, suite in SUITES.items():
            case = type(f"{mixin.__name__}_{name}", (mixin, suite, unittest.TestCase), {})
            found += [pytest.param(case, method, id=f"{case.__name__}-{method}") for method in methods_of(suite)]
    return found


def methods_of(suite: type) -> list[str]:
    return [method for method in dir(suite) if method.startswith("test_")]


@pytest.mark.parametrize(("case", "method"), cases())
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_as_cpython_does(case: type[unittest.TestCase], method: str) -> None:
    result = unittest.TestResult()
    case(method).run(result)
    for _, text in [*result.errors, *result.failures]:
        pytest.fail(text)
    for _, reason in result.skipped:
        pytest.skip(reason)
    assert result.testsRun == 1
