"""Ask an interpreter what it is."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from offgil_ci.process import clean_environment

# Runs in the interpreter in question.  Its modules are imported to learn that they work: a CPython
# that was built without OpenSSL's headers looks fine until pip needs ssl.
_SCRIPT = """
import ctypes, json, sqlite3, ssl, sys, sysconfig, zlib
config = sysconfig.get_config_var("CONFIG_ARGS") or ""
flags = [flag for flag in ("--enable-optimizations", "--with-lto", "--with-pydebug") if flag in config]
print(json.dumps({
    "path": sys.executable,
    "name": sys.implementation.name,
    "version": ".".join(map(str, sys.version_info[:3])),
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "flags": flags,
}))
"""


@dataclass(frozen=True)
class Interpreter:
    """A CPython that was run and answered."""

    path: Path
    version: str
    free_threaded: bool
    flags: tuple[str, ...]  # of its configure, those that decide its speed
    how: str  # how it was got, for people

    @property
    def series(self) -> str:
        """What the matrix calls it: `3.13`, `3.13t`."""
        return ".".join(self.version.split(".")[:2]) + ("t" if self.free_threaded else "")

    def comparable(self, other: Interpreter) -> bool:
        """Whether times of the two can be compared: one version and equal flags."""
        return self.version == other.version and self.flags == other.flags


def probe(path: Path, how: str) -> Interpreter | None:
    """The interpreter at `path`, or None where there is none that works."""
    try:
        answer = subprocess.run(
            [str(path), "-c", _SCRIPT],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            env=clean_environment(),
            # Not the checkout: a file there could shadow a module.
            cwd="/",
        ).stdout
        facts = json.loads(answer)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if facts["name"] != "cpython":
        return None
    return Interpreter(
        path=Path(facts["path"]),
        version=facts["version"],
        free_threaded=facts["free_threaded"],
        flags=tuple(facts["flags"]),
        how=how,
    )
