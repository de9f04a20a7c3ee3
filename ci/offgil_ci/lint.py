"""Format and types of everything, by the tools of the dev extra: ruff, mypy, clang-format."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from offgil_ci import environments, packages
from offgil_ci.interpreters import reference
from offgil_ci.paths import LOGS, ROOT
from offgil_ci.probe import Interpreter
from offgil_ci.process import StepFailed, Words, run

TIMEOUT = 300


def tools(interpreter: Interpreter) -> Path:
    """The bin folder of the environment that has the dev extra: tools, and packages that mypy must see."""
    wheel = environments.build_wheel(interpreter, interpreter.series)
    return environments.install(wheel, "lint", interpreter, extras="dev", reuse=True).parent


def check(interpreter: Interpreter) -> None:
    """Raise StepFailed with all that any of the tools objects to."""
    home = tools(interpreter)
    commands: list[Words] = [
        [home / "ruff", "check", "--output-format=concise", *_python_sources()],
        [home / "ruff", "format", "--check", *_python_sources()],
        [home / "mypy"],
        [home / "mypy", "-p", "offgil_ci"],
        [home / "clang-format", "--dry-run", "-Werror", *_cpp_sources()],
    ]
    failures = []
    for number, command in enumerate(commands, start=1):
        log = LOGS / f"lint-{number}.log"
        log.unlink(missing_ok=True)
        try:
            run(command, log=log, timeout=TIMEOUT, cwd=ROOT, env={"MYPYPATH": "ci"})
        except StepFailed as error:
            failures.append(str(error))
    if failures:
        raise StepFailed("\n".join(failures))


def fix(interpreter: Interpreter) -> None:
    """Rewrite what the tools can put right themselves."""
    home, log = tools(interpreter), LOGS / "format.log"
    log.unlink(missing_ok=True)
    run(
        [home / "ruff", "check", "--fix", "--exit-zero", *_python_sources()],
        log=log,
        timeout=TIMEOUT,
        cwd=ROOT,
    )
    run([home / "ruff", "format", *_python_sources()], log=log, timeout=TIMEOUT, cwd=ROOT)
    run([home / "clang-format", "-i", *_cpp_sources()], log=log, timeout=TIMEOUT)


def _python_sources() -> Words:
    # The commands of ci/ have no suffix, so ruff must be told.
    return [ROOT, *(path for path in sorted((ROOT / "ci").iterdir()) if path.is_file())]


def _cpp_sources() -> Words:
    return [path for top in ("src_cpp", "tests/cpp") for path in sorted((ROOT / top).rglob("*.[ch]*"))]


def main(arguments: list[str] | None = None) -> int:
    """The command ci/format."""
    parser = argparse.ArgumentParser(prog="ci/format", description="Format Python and C++ as the lint suite wants it.")
    parser.parse_args(arguments)
    try:
        packages.ensure(packages.EXTENSION)
        fix(reference())
    except StepFailed as error:
        print(f"ci/format: {error}", file=sys.stderr)
        return 1
    return 0
