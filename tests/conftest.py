from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import pytest


def gil_enabled() -> bool:
    # Before 3.13 there is no function to ask, and always a GIL.
    return sys._is_gil_enabled() if hasattr(sys, "_is_gil_enabled") else True


GIL_ENABLED_AT_START = gil_enabled()


def pytest_report_header() -> str:
    return f"GIL: {'on' if GIL_ENABLED_AT_START else 'off'} at start"


# One import of an extension that does not declare itself safe turns the GIL on for the rest of the
# process, and from there on every race that the tests look for is gone.
def pytest_sessionfinish(session: pytest.Session) -> None:
    if gil_enabled() and not GIL_ENABLED_AT_START:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if gil_enabled() and not GIL_ENABLED_AT_START:
        terminalreporter.section("GIL", red=True)
        terminalreporter.line(
            "the GIL was turned on during the tests: they prove nothing about running without it"
        )


@pytest.fixture
def barrier_threads() -> Callable[[int, Callable[[int], object]], list[object]]:
    """Run work(0) … work(count - 1), each in a fresh thread, all let go at once; return what they returned.

    Without the barrier the first thread is often done before the last one has started, and nothing overlaps.
    """

    def run(count: int, work: Callable[[int], object], *, timeout: float = 60) -> list[object]:
        barrier = threading.Barrier(count)
        results: list[object] = [None] * count
        errors: list[BaseException] = []

        def body(index: int) -> None:
            try:
                barrier.wait(timeout)
                results[index] = work(index)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=body, args=(index,), daemon=True) for index in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout)
        if errors:
            raise errors[0]
        stuck = [index for index, thread in enumerate(threads) if thread.is_alive()]
        assert not stuck, f"threads {stuck} still run after {timeout} s"
        return results

    return run
