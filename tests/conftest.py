"""What several folders of tests use."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from servers import mock_server

pytest_plugins = ["socket_servers", "stalls", "tls_servers"]


def gil_enabled() -> bool:
    # Before 3.13 there is no function to ask, and always a GIL.
    return sys._is_gil_enabled() if hasattr(sys, "_is_gil_enabled") else True


GIL_ENABLED_AT_START = gil_enabled()

# A shell has its background jobs ignore Ctrl-C, and so would all processes that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
        terminalreporter.line("the GIL was turned on during the tests: they prove nothing about running without it")


@pytest.fixture(scope="session")
def llm() -> Iterator[str]:
    """The base URL of a mock LLM server without latency and errors."""
    with mock_server("--retry-after", "0.1") as url:
        yield url


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


# An extension module of today's shape that says nothing about the GIL, as most written before 3.13.
NEEDS_GIL = """
#include <Python.h>
static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef def = {PyModuleDef_HEAD_INIT, "needs_gil", NULL, 0, NULL, slots, NULL, NULL, NULL};
PyMODINIT_FUNC PyInit_needs_gil(void) { return PyModuleDef_Init(&def); }
"""


@pytest.fixture(scope="session")
def gil_module(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of an extension module, ``needs_gil``, that turns the GIL on where it is off."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    headers = Path(sysconfig.get_path("include"))
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"no C compiler: {compiler[0]} is not on PATH")
    if not (headers / "Python.h").exists():
        pytest.skip(f"this interpreter has no headers in {headers}")
    folder = tmp_path_factory.mktemp("extension")
    source = folder / "needs_gil.c"
    source.write_text(NEEDS_GIL)
    target = folder / f"needs_gil{sysconfig.get_config_var('EXT_SUFFIX')}"
    subprocess.run(
        [*compiler, "-shared", "-fPIC", f"-I{headers}", str(source), "-o", str(target)],
        check=True,
        timeout=120,
    )
    return str(target)
