"""What a suite did, and the table at the end."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from offgil_ci.process import StepFailed


class Counts(NamedTuple):
    """Tests by outcome."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def total(counts: Iterable[Counts]) -> Counts:
    """The sum, outcome by outcome."""
    return Counts(*(sum(column) for column in zip(Counts(), *counts, strict=True)))


@dataclass(frozen=True)
class Result:
    """One cell of the matrix."""

    row: str  # an interpreter ("3.13t") or what is not run per interpreter ("C++", "lint")
    suite: str
    status: str  # "ok", "failed" or "not run"
    counts: Counts | None = None
    reason: str = ""  # of "failed" and "not run"
    seconds: float = 0

    def cell(self) -> str:
        """What the table says."""
        if self.counts is not None:
            return f"{self.status}: {self.counts}"
        return self.status


def from_junit(report: Path) -> Counts | None:
    """The counts of a pytest run, or None where it ended without a report."""
    if not report.exists():
        return None
    totals = []
    for suite in ET.parse(report).getroot().iter("testsuite"):
        number = {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}
        failed = number["failures"] + number["errors"]
        totals.append(Counts(number["tests"] - failed - number["skipped"], failed, number["skipped"]))
    return total(totals)


def from_doctest(log: Path) -> Counts:
    """The test cases of all doctest binaries whose output is in `log`."""
    pattern = r"\[doctest\] test cases: +\d+ \| +(\d+) passed \| +(\d+) failed \| +(\d+) skipped"
    return total(Counts(*map(int, line)) for line in re.findall(pattern, log.read_text(errors="replace")))


def table(results: Sequence[Result]) -> str:
    """Rows by interpreter, one line per suite, and below the reasons of all that is not ok."""
    cells = [("interpreter", "suite", "result", "time")]
    cells += [(result.row, result.suite, result.cell(), f"{result.seconds:.0f} s") for result in results]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += ["", *(f"{it.row} {it.suite}: {it.status}: {it.reason}" for it in results if it.reason)]
    return "\n".join(lines).rstrip()


class TestsFailed(StepFailed):
    """Tests failed; `counts` says how many, where that is known."""

    def __init__(self, message: str, counts: Counts | None) -> None:
        super().__init__(message)
        self.counts = counts
