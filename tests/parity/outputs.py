"""Runs every program of this folder with every store on this interpreter, and writes what they print to a JSON file.

The outputs must be equal: of the stores on one interpreter (test_parity.py), and of all interpreters (ci/test).  With
the shared-state store the workers are threads, with the managed-dict store they are processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAMS = sorted((Path(__file__).parent / "programs").glob("*.py"))
STORES = ("shared", "managed") if sys.platform == "linux" else ("shared",)
WORKERS = {"shared": "threads", "managed": "processes"}


def output_of(program: Path, store: str) -> str:
    """What the program prints with that store; what goes wrong in it is part of it."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", program],
        env=os.environ | {"OFFGIL_STORE": store, "OFFGIL_WORKERS": WORKERS[store], "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    failed = f"exit status {done.returncode}\n{done.stderr}" if done.returncode or done.stderr else ""
    return done.stdout + failed


def main() -> None:
    outputs = {f"{program.stem} {store}": output_of(program, store) for program in PROGRAMS for store in STORES}
    Path(sys.argv[1]).write_text(json.dumps(outputs))


if __name__ == "__main__":
    main()
