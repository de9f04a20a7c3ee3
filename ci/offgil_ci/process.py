"""Run a step quietly: output to a log file, a time bound, and a failure that says where to look."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from offgil_ci.paths import cache

TAIL_LINES = 60

# Of a command.
Words = list[str | Path]


class StepFailed(Exception):
    """A step did not work; the message says what happened and what to do."""


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without what would leak one Python into another.

    PYTHON_GIL must go too: with it set, a test that the GIL stays off proves nothing.
    """
    leaks = ("PYTHON", "VIRTUAL_ENV", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
    env = {name: value for name, value in os.environ.items() if not name.startswith(leaks)}
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    env["PIP_NO_INPUT"] = "1"
    if shutil.which("ccache"):
        # The cores are compiled alike for every interpreter, and mostly alike from one run to the next.
        env |= {"CMAKE_CXX_COMPILER_LAUNCHER": "ccache", "CCACHE_DIR": str(cache() / "ccache"), "CCACHE_MAXSIZE": "1G"}
    env.update(extra or {})
    return env


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """The last lines of a log file."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def run(
    command: Words,
    *,
    log: Path,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Append the command and its output to `log`; raise StepFailed unless it exits 0 in `timeout` seconds."""
    words = [str(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        stream.write(f"$ {shlex.join(words)}\n")
        stream.flush()
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env=clean_environment(env),
                # A group, to kill all of it; no session, in which sudo would not know its user again.
                process_group=0,
            )
        except OSError as error:
            raise StepFailed(f"{words[0]} could not be started: {error}") from error
        try:
            code = process.wait(timeout)
        except BaseException as error:
            # The whole group: a hung test may have children of its own.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                message = f"`{shlex.join(words)}` was stopped: not finished after {timeout:.0f} s"
                raise StepFailed(f"{message}\nThe end of {log}:\n{tail(log)}") from None
            raise
    if code != 0:
        raise StepFailed(f"`{shlex.join(words)}` exited with {code}\nThe end of {log}:\n{tail(log)}")
