"""ci/test: every suite on every interpreter, and a table of what happened."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from offgil_ci import conformance, interpreters, lint, packages, stubs, suites
from offgil_ci.interpreters import Column
from offgil_ci.paths import LOGS, ROOT
from offgil_ci.process import StepFailed
from offgil_ci.results import Counts, Result, TestsFailed, table, total

# Rows that are not an interpreter.
CPP, LINT, STUBS, PARITY, COMPARE = "C++", "lint", "stubs", "parity", "compare"
CHOICES = {f"cpp-{variant}": variant for variant in suites.SANITIZERS}


class Matrix:
    """The results so far, and how to add to them."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def attempt(self, row: str, suite: str, step: Callable[[], Counts | None]) -> bool:
        """Run one suite and print its lines; whatever goes wrong in it, the other suites still run."""
        print(f"{row} {suite} ...", flush=True)
        started = time.monotonic()
        counts, status, reason = None, "ok", ""
        try:
            counts = step()
        except StepFailed as error:
            status, reason = "failed", str(error).splitlines()[0].replace(f"{ROOT}/", "")
            counts = error.counts if isinstance(error, TestsFailed) else None
            print(f"{row} {suite} failed\n{error}", flush=True)
        result = Result(row, suite, status, counts, reason, time.monotonic() - started)
        if status == "ok":
            print(f"{row} {suite} {result.cell()} ({result.seconds:.0f} s)", flush=True)
        self.results.append(result)
        return status == "ok"

    def leave_out(self, row: str, suite: str, reason: str, *, required: bool = False) -> None:
        """Record a suite that could not run; a required one counts as failed."""
        self.results.append(Result(row, suite, "failed" if required else "not run", reason=reason))

    def interpreter(self, column: Column, *, quick: bool) -> None:
        """The suites of one interpreter."""
        name, found = column.name, column.interpreter
        if found is None:
            self.leave_out(name, "all", column.reason, required=column.required)
        elif self.attempt(name, "wheel", lambda: suites.wheel(found, name, reuse=quick)):
            self.attempt(name, "tests", lambda: suites.python_tests(name, stop_at_first=quick))
            if column.required and not quick:
                self.attempt(name, "httpx", lambda: conformance.run_httpx(found, name))
        else:
            self.leave_out(name, "tests", "there is no wheel to test")

    def parity(self) -> None:
        """The same programs on all interpreters that have a wheel now."""
        names = self._wheels()
        if len(names) > 1:
            self.attempt("any", PARITY, lambda: suites.parity(names))
        else:
            self.leave_out("any", PARITY, f"it takes two interpreters, and there is {len(names) or 'none'}")

    def compare(self) -> None:
        """`offgil compare` in its quick form: for equal answers, not for times."""
        if names := self._wheels():
            self.attempt("any", COMPARE, lambda: suites.compare(names, "--quick"))

    def _wheels(self) -> list[str]:
        return [result.row for result in self.results if result.suite == "wheel" and result.status == "ok"]

    def cpp(self, variant: str) -> None:
        """The C++ tests in one variant."""
        self.attempt(CPP, variant, lambda: suites.cpp_tests(variant))

    def finish(self) -> int:
        """Print the table and the sum of the Python tests; the exit code of the run."""
        print(f"\n{table(self.results)}\n")
        failed = any(result.status == "failed" for result in self.results)
        print(f"FAILED; logs: {LOGS}" if failed else "all that ran is ok")
        print(total(result.counts for result in self.results if result.suite == "tests" and result.counts))
        return 1 if failed else 0


def run_everything(matrix: Matrix, only: list[str], *, quick: bool) -> None:
    """Run what `only` names, or all of it; `quick` is the inner loop."""

    def wanted(name: str) -> bool:
        return not only or name in only

    series = [name for name in interpreters.ALL if wanted(name)]
    columns = interpreters.search(series, make=not quick)
    if quick and not only:
        columns = _one_of_each(columns)
        if not any(column.name.endswith("t") for column in columns):
            matrix.leave_out("free-threaded", "all", "none is at hand; ci/interpreters makes one")
    # Two at a time: Python's tests wait for most of their time.  The natives come first, since they compile the most.
    parts: list[Callable[[Matrix], None]] = [lambda part: _run_natives(part, wanted, quick=quick and not only)]
    parts += [partial(Matrix.interpreter, column=column, quick=quick) for column in columns]
    with ThreadPoolExecutor(2) as pool:
        for part in pool.map(_own_matrix, parts):
            matrix.results += part.results
    if columns:
        matrix.parity()
    if quick and not only:
        return
    if wanted(LINT):
        matrix.attempt("any", LINT, lambda: lint.check(interpreters.reference()))
    if wanted(STUBS):
        matrix.attempt("any", STUBS, lambda: stubs.check(interpreters.reference()))


def _own_matrix(part: Callable[[Matrix], None]) -> Matrix:
    """What `part` adds to a matrix of its own, since parts run beside each other."""
    matrix = Matrix()
    part(matrix)
    return matrix


def _run_natives(matrix: Matrix, wanted: Callable[[str], bool], *, quick: bool) -> None:
    for choice, variant in CHOICES.items():
        if wanted(choice) and (variant == "plain" or not quick):
            matrix.cpp(variant)


def _one_of_each(columns: list[Column]) -> list[Column]:
    """One interpreter with the GIL and one without, the pair before others."""
    found = sorted((column for column in columns if column.interpreter), key=lambda column: not column.required)
    kinds = {column.name.endswith("t"): column for column in reversed(found)}
    return list(kinds.values())


def main(arguments: list[str] | None = None) -> int:
    """The command ci/test: exit 0 where all that had to run did, and passed."""
    parser = argparse.ArgumentParser(prog="ci/test", description="Run the whole test matrix.")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="the inner loop: one interpreter of each kind that is there already, C++ tests without "
        "sanitizers, environments reused, stop at the first failure",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="ROW",
        choices=[*interpreters.ALL, *CHOICES, LINT, STUBS],
        help="run only this row (can be repeated): an interpreter, cpp-plain, cpp-thread, cpp-address, lint or stubs",
    )
    options = parser.parse_args(arguments)
    matrix = Matrix()
    try:
        packages.ensure(packages.EXTENSION, packages.CPP_TESTS)
        run_everything(matrix, options.only, quick=options.quick)
        matrix.compare()
    except StepFailed as error:
        print(f"ci/test: {error}", file=sys.stderr)
        return 1
    return matrix.finish()
