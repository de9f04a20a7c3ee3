"""Find or make the interpreters of the matrix.

In this order: on PATH, built here before, from uv where it is installed and can download, built from Debian's
source package.  3.13 and 3.13t are required and come as a pair of one version and equal flags, because the
two are compared; the others are columns wherever they can be had.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from offgil_ci import cpython
from offgil_ci.probe import Interpreter, probe
from offgil_ci.process import StepFailed, clean_environment

PAIR = ("3.13", "3.13t")
OPTIONAL = ("3.11", "3.14", "3.14t")
# 3.11 is what Debian 12 comes with; nobody builds it anew.
BUILT = ("3.14", "3.14t")
# The system's own, where it is none of the above.
SYSTEM = "system"
ALL = (*PAIR, *OPTIONAL, SYSTEM)
SYSTEM_PYTHON = Path("/usr/bin/python3")
OLDEST = (3, 11)
UV_TIMEOUT = 180


@dataclass(frozen=True)
class Column:
    """One column of the matrix: an interpreter, or why there is none."""

    name: str
    interpreter: Interpreter | None
    reason: str = ""

    @property
    def required(self) -> bool:
        """Whether the matrix fails without it."""
        return self.name in PAIR


def search(names: Iterable[str] = ALL, *, make: bool = True, refresh: bool = False) -> list[Column]:
    """The columns `names`.

    With make=False nothing is downloaded or built; with refresh=True old refusals are forgotten.
    """
    wanted = set(names)
    columns = _pair(make) if wanted & set(PAIR) else []
    columns += [_optional(series, make, refresh) for series in OPTIONAL if series in wanted]
    columns += _system(columns) if SYSTEM in wanted else []
    columns = [column for column in columns if column.name in wanted]
    return sorted(columns, key=lambda column: (column.name == SYSTEM, column.name))


def reference() -> Interpreter:
    """The pair's interpreter with a GIL, on which tools run whose output must be the same everywhere."""
    column = search(PAIR)[0]
    if column.interpreter is None:
        raise StepFailed(f"there is no {column.name}: {column.reason}")
    return column.interpreter


def _pair(make: bool) -> list[Column]:
    gil, free_threaded = PAIR
    pairs = [(a, b) for a in _on_path(gil) for b in _on_path(free_threaded)]
    pairs += [(a, b) for a in cpython.cached(gil) for b in cpython.cached(free_threaded)]
    errors = []
    for attempt in (_from_uv, cpython.build) if make else ():
        if any(a.comparable(b) for a, b in pairs):
            break
        try:
            made = attempt(list(PAIR))
            pairs.append((made[0], made[1]))
        except StepFailed as error:
            errors.append(str(error))
    for a, b in pairs:
        if a.comparable(b):
            return [Column(gil, a), Column(free_threaded, b)]
    for message in errors:
        print(message, file=sys.stderr)
    first_lines = [message.splitlines()[0] for message in errors]
    reason = "; ".join(["no two of one version and equal flags on PATH or in the cache", *first_lines])
    return [Column(gil, None, reason), Column(free_threaded, None, reason)]


def _optional(series: str, make: bool, refresh: bool) -> Column:
    found = [*_system_of(series), *_on_path(series), *cpython.cached(series)]
    if found:
        return Column(series, found[0])
    if not make:
        return Column(series, None, "not on PATH and not in the cache")
    reasons = ["not on PATH"]
    try:
        return Column(series, _from_uv([series])[0])
    except StepFailed as error:
        reasons.append(str(error).splitlines()[0])
    if series in BUILT:
        try:
            return Column(series, cpython.build([series], believe_refusal=not refresh)[0])
        except StepFailed as error:
            reasons.append(str(error).splitlines()[0])
    return Column(series, None, "; ".join(reasons))


def _system(columns: Iterable[Column]) -> list[Column]:
    """The system's Python as a column of its own, unless it is one of `columns` already."""
    system = probe(SYSTEM_PYTHON, "the system's")
    if system is None:
        return [Column(SYSTEM, None, f"there is no working {SYSTEM_PYTHON}")]
    if any(column.interpreter and column.interpreter.path.samefile(system.path) for column in columns):
        return []
    if tuple(int(part) for part in system.version.split(".")[:2]) < OLDEST:
        return [Column(SYSTEM, None, f"{SYSTEM_PYTHON} is {system.version}, too old for offgil")]
    return [Column(SYSTEM, system)]


def _system_of(series: str) -> list[Interpreter]:
    system = probe(SYSTEM_PYTHON, "the system's")
    return [system] if system and system.series == series else []


def _on_path(series: str) -> list[Interpreter]:
    executable = shutil.which(f"python{series}")
    interpreter = probe(Path(executable), "on PATH") if executable else None
    return [interpreter] if interpreter and interpreter.series == series else []


def _from_uv(series: list[str]) -> list[Interpreter]:
    uv = shutil.which("uv")
    if uv is None:
        raise StepFailed("uv is not installed")
    found = []
    for name in series:
        # One try: where its downloads cannot be reached, the next way is at hand.
        env = clean_environment({"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "60"})
        try:
            for command in (["install"], ["find", "--python-preference=only-managed"]):
                done = subprocess.run(
                    [uv, "python", *command, name],
                    cwd="/",  # uv would look for an environment in the checkout
                    capture_output=True,
                    text=True,
                    timeout=UV_TIMEOUT,
                    env=env,
                    check=True,
                )
        except subprocess.SubprocessError as error:
            raise StepFailed(f"uv could not install {name}: {_last_line(error)}") from error
        interpreter = probe(Path(done.stdout.strip()), "installed by uv")
        if interpreter is None or interpreter.series != name:
            raise StepFailed(f"uv's {name} at {done.stdout.strip()} does not work")
        found.append(interpreter)
    return found


def _last_line(error: subprocess.SubprocessError) -> str:
    lines = (getattr(error, "stderr", None) or "").strip().splitlines()
    return str(lines[-1]) if lines else str(error)


def main(arguments: list[str] | None = None) -> int:
    """The command ci/interpreters: one line per interpreter, exit 1 where a required one is missing."""
    parser = argparse.ArgumentParser(prog="ci/interpreters", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print a JSON array instead of lines")
    parser.add_argument("--find", action="store_true", help="only look: download and build nothing")
    parser.add_argument("--refresh", action="store_true", help="ask the network again for what it did not have")
    options = parser.parse_args(arguments)
    columns = search(ALL, make=not options.find, refresh=options.refresh)
    if options.json:
        print(json.dumps([_as_json(column) for column in columns], indent=2))
    else:
        print("\n".join(_as_line(column) for column in columns))
    missing = [column.name for column in columns if column.required and column.interpreter is None]
    if missing:
        print(
            f"ci/interpreters: {' and '.join(missing)} are required.  Put a python3.13 and a python3.13t of "
            "one version on PATH, or install uv, or run this on Debian as root with its mirror reachable.",
            file=sys.stderr,
        )
    return 1 if missing else 0


def _as_line(column: Column) -> str:
    found = column.interpreter
    if found is None:
        return f"{column.name}\tnot run: {column.reason}"
    return f"{column.name}\t{found.path}\t{found.version}, {found.how}"


def _as_json(column: Column) -> dict[str, object]:
    interpreter = column.interpreter
    return {
        "name": column.name,
        "path": str(interpreter.path) if interpreter else None,
        "version": interpreter.version if interpreter else None,
        "free_threaded": interpreter.free_threaded if interpreter else None,
        "how": interpreter.how if interpreter else None,
        "not_run": None if interpreter else column.reason,
    }
