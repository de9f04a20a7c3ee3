"""What the benchmarks share: the interpreters, a measurement in a process of its own, medians over rounds."""

from __future__ import annotations

import argparse
import statistics
import subprocess
from pathlib import Path

_VENVS = Path(__file__).resolve().parent.parent / "build" / "venvs"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--python``, by default the environments that ``benchmarks/prepare`` makes."""
    default = [str(_VENVS / f"bench-{name}" / "bin" / "python") for name in ("3.13", "3.13t")]
    parser.add_argument("--python", nargs="+", default=default, help="interpreters with offgil and the peers")


def versions(python: str, packages: tuple[str, ...]) -> str:
    """Say in one line which interpreter that is, and which of ``packages`` it has."""
    code = (
        "import sys, importlib.metadata as m\n"
        "gil = getattr(sys, '_is_gil_enabled', lambda: True)()\n"
        "print(sys.version.split()[0] + ('' if gil else ' without GIL'), end='')\n"
        "for p in sys.argv[1:]:\n"
        "    try: print(f', {p} {m.version(p)}', end='')\n"
        "    except m.PackageNotFoundError: pass\n"
    )
    return subprocess.run([python, "-c", code, *packages], check=True, capture_output=True, text=True).stdout


def figures(command: list[str], timeout: float = 600) -> tuple[float, ...] | None:
    """Run one measurement; the numbers that it printed, or ``None`` where its peer is not installed."""
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=timeout).stdout
    if printed.strip() == "not installed":
        return None
    return tuple(map(float, printed.split()))


def medians(rows: list[tuple[float, ...]]) -> list[float]:
    """The median of each column of what ``figures`` gave in several rounds."""
    return [statistics.median(column) for column in zip(*rows, strict=True)]
