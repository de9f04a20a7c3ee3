"""The rows of a comparison, as a table and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Row", "disagreements", "table"]


@dataclass(slots=True)
class Row:
    """A workload on one interpreter, with one kind of workers and one store.

    Attributes:
        workload: its name.
        python: path of the interpreter.
        workers: ``"threads"`` or ``"processes"``; ``None`` where it makes no difference.
        store: ``"shared"`` or ``"managed"``; likewise.
        version: of the interpreter.
        free_threaded: whether it was built to run without a GIL.
        chosen: what the runtime would choose by itself there, and why.
        seconds: of each measured round.
        items: results of one round.
        digests: of the results of all rounds.
        error: why it could not run, or not to its end.

    Thread-safety: compatible.
    """

    workload: str
    python: str
    workers: str | None
    store: str | None
    version: str = ""
    free_threaded: bool = False
    chosen: dict[str, tuple[str, str]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    items: int = 0
    digests: set[str] = field(default_factory=set)
    error: str = ""

    @property
    def microseconds(self) -> float:
        """Microseconds an item, of the median round."""
        return statistics.median(self.seconds) / self.items * 1e6

    @property
    def name(self) -> str:
        """What people call the interpreter: ``3.13.2t``."""
        return f"{self.version}t" if self.free_threaded else self.version or self.python

    @property
    def is_chosen(self) -> bool:
        """Whether the runtime would choose this by itself."""
        kinds = {"workers": self.workers, "store": self.store}
        return all(kind is None or self.chosen.get(name, ("",))[0] == kind for name, kind in kinds.items())

    def introduce(self, hello: dict[str, Any]) -> None:
        """Take over what the child says of itself."""
        self.version, self.free_threaded = hello["version"], hello["free_threaded"]
        self.chosen = {name: (kind, reason) for name in ("workers", "store") for kind, reason in [hello[name]]}

    def add(self, answer: dict[str, Any], *, measured: bool) -> None:
        """Take over the result of one round."""
        if "error" in answer:
            self.error = answer["error"].strip().splitlines()[-1]
            return
        self.digests.add(answer["digest"])
        self.items = answer["items"]
        if measured:
            self.seconds.append(answer["seconds"])

    def as_json(self) -> dict[str, Any]:
        """For a report to keep."""
        return {
            "workload": self.workload,
            "python": self.python,
            "version": self.version,
            "free_threaded": self.free_threaded,
            "workers": self.workers,
            "store": self.store,
            "chosen": {name: {"kind": kind, "reason": reason} for name, (kind, reason) in self.chosen.items()},
            "is_chosen": self.is_chosen,
            "seconds": self.seconds,
            "items": self.items,
            "microseconds": self.microseconds if self.seconds else None,
            "digests": sorted(self.digests),
            "error": self.error,
        }


def disagreements(rows: Iterable[Row]) -> list[str]:
    """The workloads that did not give one answer everywhere, and what failed, each in a line."""
    lines = []
    by_workload: dict[str, list[Row]] = {}
    for row in rows:
        by_workload.setdefault(row.workload, []).append(row)
        if row.error:
            lines.append(f"{row.workload} on {row.name}, {_setting(row)}: {row.error}")
    for workload, several in by_workload.items():
        answers: dict[str, list[Row]] = {}
        for row in several:
            for digest in row.digests:
                answers.setdefault(digest, []).append(row)
        if len(answers) > 1:
            sides = (", ".join(f"{row.name} {_setting(row)}" for row in group) for group in answers.values())
            lines.append(f"{workload} has {len(answers)} different answers: {'; '.join(sides)}")
    return lines


def table(rows: Sequence[Row]) -> str:
    """The comparison for people.

    ``ratio`` is the time on the interpreter with a GIL, of the same version and as the runtime runs it there, over this
    one: 2.00 is twice as fast.  A ``*`` marks what the runtime chooses by itself.

    Thread-safety: safe on distinct objects.
    """
    cells = [("workload", "interpreter", "workers", "store", "", "us/item", "ratio")]
    for row in rows:
        mark = "*" if row.chosen and row.is_chosen else ""
        start = (row.workload, row.name, row.workers or "-", row.store or "-", mark)
        if row.seconds:
            base = _base(row, rows)
            ratio = f"{base.microseconds / row.microseconds:.2f}" if base is not None else "-"
            cells.append((*start, f"{row.microseconds:.1f}", ratio))
        else:
            cells.append((*start, "not run", "-"))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column >= 5 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    lines.insert(1, "-" * len(lines[0]))
    reasons = {f"{row.name}: {kind}, because {reason}" for row in rows for kind, reason in row.chosen.values()}
    return "\n".join([*lines, "", "chosen (*):", *sorted(reasons)])


def _base(row: Row, rows: Iterable[Row]) -> Row | None:
    for other in rows:
        same = other.workload == row.workload and other.version == row.version
        if same and not other.free_threaded and other.is_chosen and other.seconds:
            return other
    return None


def _setting(row: Row) -> str:
    return " ".join(filter(None, (row.workers, row.store))) or "as it is"
