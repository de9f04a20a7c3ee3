"""``offgil doctor``: what this interpreter is, what offgil would do on it, and which imports turn the GIL on."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

import offgil
from offgil import _core
from offgil.errors import UnknownKind
from offgil.runtime import Decision, decide_store, decide_workers, interpreter

__all__ = ["doctor"]

IMPORT_LIMIT_S = 120

# Runs in the child.  The module's own output may be anything, so the answer is found by its mark.
MARK = "offgil-doctor:"
PROBE = f"""
import importlib, json, sys, traceback, warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    error = None
    try:
        importlib.import_module(sys.argv[1])
    except BaseException as exc:
        error = traceback.format_exception_only(exc)[-1].strip().splitlines()[-1]
messages = [str(w.message) for w in caught if issubclass(w.category, RuntimeWarning)]
answer = {{"gil": sys._is_gil_enabled(), "error": error, "warnings": messages}}
print("\\n{MARK}" + json.dumps(answer), flush=True)
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Probe:
    """What importing one package in a fresh process did.

    Attributes:
        package: the name that was imported.
        turns_gil_on: ``None`` if the import broke off before the GIL was turned on, so that nothing is known.
        module: the extension module that turned the GIL on, where the interpreter named it.
        error: the last line of the import's error.
    """

    package: str
    turns_gil_on: bool | None
    module: str | None = None
    error: str | None = None


@click.command()
@click.option("--imports", is_flag=True, help="Import each PACKAGE and name those that turn the GIL on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("packages", nargs=-1, metavar="[PACKAGE]...")
def doctor(imports: bool, as_json: bool, packages: tuple[str, ...]) -> None:
    """Say what this interpreter is and which store and workers offgil would choose on it, and why.

    With --imports, import each PACKAGE in a process of its own and say which ones turn the GIL back on.  Exit code 1: one
    did.  2: none did, but one could not be imported, or this interpreter always has a GIL.
    """
    if imports != bool(packages):
        raise click.UsageError("--imports and the names of packages go together: offgil doctor --imports numpy")
    if imports:
        _report_imports(packages, as_json)
        return
    report = _report()
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        Console().print(_overview(report))


def probe(package: str) -> Probe:
    """Import ``package`` in a fresh process of this interpreter, with the check that may turn the GIL on in force.

    Thread-safety: safe on shared objects.
    """
    # PYTHON_GIL=0 would switch the check off, PYTHON_GIL=1 would answer the question before it is asked.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    try:
        child = subprocess.run(
            [sys.executable, "-c", PROBE, package],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=IMPORT_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Probe(package, None, error=f"the import did not end within {IMPORT_LIMIT_S} s")
    answers = [line.removeprefix(MARK) for line in child.stdout.splitlines() if line.startswith(MARK)]
    if not answers:
        return Probe(package, None, error=_last_words(child))
    answer = json.loads(answers[-1])
    named = (re.search(r"to load module '([^']+)'", message) for message in answer["warnings"])
    module = next((match[1] for match in named if match), None)
    turned_on = True if answer["gil"] else None if answer["error"] else False
    return Probe(package, turned_on, module, answer["error"])


def _last_words(child: subprocess.CompletedProcess[str]) -> str:
    if child.returncode < 0:
        return f"the import crashed the process: {signal.Signals(-child.returncode).name}"
    lines = child.stderr.strip().splitlines()
    return lines[-1] if lines else f"the import ended the process with exit code {child.returncode}"


def _report_imports(packages: tuple[str, ...], as_json: bool) -> None:
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise click.UsageError(
            f"{sys.executable} was built with a GIL, so no import can turn it on: ask a free-threaded interpreter "
            "(python3.13t, python3.14t)"
        )
    probes = [probe(package) for package in packages]
    if as_json:
        click.echo(json.dumps({"imports": [dataclasses.asdict(result) for result in probes]}, indent=2))
    else:
        for result in probes:
            click.echo(_sentence(result))
    if any(result.turns_gil_on for result in probes):
        sys.exit(1)
    if any(result.turns_gil_on is None for result in probes):
        sys.exit(2)


def _sentence(result: Probe) -> str:
    if result.turns_gil_on:
        named = f", by loading {result.module}" if result.module and result.module != result.package else ""
        broken = f"; then the import failed: {result.error}" if result.error else ""
        return f"{result.package}: turns the GIL on{named}{broken}"
    if result.error:
        return f"{result.package}: cannot be imported: {result.error}"
    return f"{result.package}: leaves the GIL off"


def _report() -> dict[str, Any]:
    now = interpreter()
    curl = _core.libcurl_info()
    return {
        "offgil": offgil.__version__,
        "interpreter": dataclasses.asdict(now) | {"executable": sys.executable},
        "build": {
            name: sysconfig.get_config_var(name) for name in ("Py_GIL_DISABLED", "Py_DEBUG", "CONFIG_ARGS", "CC")
        },
        "store": _decided(decide_store),
        "workers": _decided(decide_workers),
        "libcurl": {
            "version": curl.version,
            "tls_backend": curl.tls_backend,
            "features": curl.features,
            "protocols": curl.protocols,
        },
    }


def _decided(decide: Any) -> dict[str, Any]:
    try:
        decision: Decision = decide()
    except UnknownKind as exc:
        # A doctor that dies of the illness is of no use.
        return {"kind": None, "reason": str(exc), "forced": True, "sentence": f"none: {exc}"}
    return dataclasses.asdict(decision) | {"sentence": str(decision)}


def _overview(report: dict[str, Any]) -> Table:
    now = report["interpreter"]
    curl = report["libcurl"]
    build = "free-threaded" if now["free_threaded_build"] else "with a GIL"
    rows = {
        "offgil": report["offgil"],
        "interpreter": f"{now['implementation']} {now['version']}, built {build}: {now['executable']}",
        "build flags": ", ".join(f"{name}={value}" for name, value in report["build"].items() if value),
        "GIL": f"on: {now['gil_cause']}" if now["gil_enabled"] else "off",
        "store": report["store"]["sentence"],
        "workers": report["workers"]["sentence"],
        "libcurl": f"{curl['version']}, {curl['tls_backend'] or 'without TLS'}",
        "features": " ".join(curl["features"]),
        "protocols": " ".join(curl["protocols"]),
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows.items():
        # Text, not str: brackets in paths and flags are no markup.
        table.add_row(name, Text(text))
    return table
