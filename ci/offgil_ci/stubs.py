"""The extension's checked-in stub, pkg/offgil/_core.pyi: written by nanobind's stubgen, never by hand."""

from __future__ import annotations

import argparse
import difflib
import sys

from offgil_ci import environments, lint, packages
from offgil_ci.interpreters import reference
from offgil_ci.paths import BUILD, LOGS, ROOT
from offgil_ci.probe import Interpreter
from offgil_ci.process import StepFailed, Words, run

STUB = ROOT / "pkg" / "offgil" / "_core.pyi"
PATTERNS = ROOT / "src_cpp" / "binding" / "stub_patterns.txt"
TIMEOUT = 120


def generate(interpreter: Interpreter) -> str:
    """The stub of the extension as it is now."""
    log, stub = LOGS / "stubs.log", BUILD / "stubs" / "_core.pyi"
    log.unlink(missing_ok=True)
    tools = lint.tools(interpreter)
    built_with = environments.python_of(f"{interpreter.series}-build")
    extension_of = next(tools.parent.glob("lib/python*/site-packages"))
    stubgen: Words = [built_with, "-m", "nanobind.stubgen", "-q", "-m", "offgil._core", "-i", extension_of]
    stub.parent.mkdir(parents=True, exist_ok=True)
    run([*stubgen, "-p", PATTERNS, "-o", stub], log=log, timeout=TIMEOUT)
    settings: Words = ["--config", ROOT / "pyproject.toml", stub]
    # A fix may leave lines to format, and what cannot be fixed is for the lint suite to say.
    run([tools / "ruff", "check", "-q", "--fix", "--exit-zero", *settings], log=log, timeout=TIMEOUT)
    run([tools / "ruff", "format", "-q", *settings], log=log, timeout=TIMEOUT)
    return stub.read_text()


def check(interpreter: Interpreter) -> None:
    """Raise StepFailed where the checked-in stub is not what the extension says."""
    now = generate(interpreter)
    checked_in = STUB.read_text() if STUB.exists() else ""
    if now != checked_in:
        difference = difflib.unified_diff(
            checked_in.splitlines(), now.splitlines(), "checked in", "generated", lineterm=""
        )
        name = STUB.relative_to(ROOT)
        raise StepFailed("\n".join([f"{name} is out of date; run ci/stubs and commit it", *difference]))


def main(arguments: list[str] | None = None) -> int:
    """The command ci/stubs."""
    parser = argparse.ArgumentParser(prog="ci/stubs", description=f"Write {STUB.relative_to(ROOT)} anew.")
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 where it is out of date")
    options = parser.parse_args(arguments)
    try:
        packages.ensure(packages.EXTENSION)
        interpreter = reference()
        if options.check:
            check(interpreter)
        else:
            STUB.write_text(generate(interpreter))
    except StepFailed as error:
        print(f"ci/stubs: {error}", file=sys.stderr)
        return 1
    return 0
