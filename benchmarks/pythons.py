"""Which interpreters a benchmark runs on."""

from __future__ import annotations

import argparse
from pathlib import Path

_VENVS = Path(__file__).resolve().parent.parent / "build" / "venvs"


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--python``, by default the environments that ``benchmarks/prepare`` makes."""
    default = [str(_VENVS / f"bench-{name}" / "bin" / "python") for name in ("3.13", "3.13t")]
    parser.add_argument("--python", nargs="+", default=default, help="interpreters with offgil and the peers")
