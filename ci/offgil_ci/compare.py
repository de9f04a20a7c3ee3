"""ci/compare: the same workloads on every interpreter that is at hand."""

from __future__ import annotations

import subprocess
import sys

from offgil_ci import environments, interpreters, packages, suites
from offgil_ci.process import StepFailed, clean_environment


def main(arguments: list[str]) -> int:
    """Install offgil on each interpreter, then hand over to `offgil compare` with all of them; its exit code."""
    try:
        packages.ensure(packages.EXTENSION)
        pythons = []
        for column in interpreters.search(make=False):
            if column.interpreter is None:
                print(f"{column.name} not run: {column.reason}", file=sys.stderr)
                continue
            print(f"building offgil for CPython {column.name}", file=sys.stderr, flush=True)
            suites.wheel(column.interpreter, column.name, reuse=True)
            pythons.append(environments.python_of(column.name))
    except StepFailed as error:
        print(f"ci/compare: {error}", file=sys.stderr)
        return 1
    if not pythons:
        print("ci/compare: no CPython of 3.11 or newer is at hand; ci/interpreters makes one", file=sys.stderr)
        return 1
    chosen = [word for python in pythons for word in ("--python", str(python))]
    command = [str(pythons[0]), "-P", "-m", "offgil.cli", "compare", *chosen, *arguments]
    return subprocess.run(command, env=clean_environment(), check=False).returncode
