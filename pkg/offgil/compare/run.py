"""Drives a comparison: one process for each interpreter and setting, and rounds that go through all of them in turn.

Interleaved, because a machine that slows down for a while must not slow down one side only.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

from offgil.compare.report import Row
from offgil.compare.workloads import SIZE, URL, Workload, find

__all__ = ["compare"]

#: Seconds that one round may take.
ROUND = 300.0
_SERVER_START = 30.0


def compare(
    pythons: Sequence[str],
    workloads: Sequence[str],
    *,
    rounds: int = 5,
    scale: float = 1.0,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Run each workload on each interpreter, with all workers and stores that concern it.

    Args:
        pythons: paths of interpreters that can import offgil.
        workloads: names of built-in ones, or ``file.py:function``.
        rounds: measured runs of each; one more goes before them, unmeasured.
        scale: of the built-in workloads' sizes.
        progress: called with a line for people, now and then.

    Returns:
        A row for each workload, interpreter and setting; one that could not run says why.

    Raises:
        ValueError: there is no workload of that name.

    Thread-safety: compatible.
    """
    found = [find(name) for name in workloads]
    with ExitStack() as stack:
        url = stack.enter_context(_mock_server()) if any(workload.fetches for workload in found) else ""
        rows = []
        for workload in found:
            progress(f"{workload.name}: {rounds} rounds on {len(pythons)} interpreters")
            rows += _one_workload(workload, pythons, rounds, {URL: url, SIZE: str(max(1, int(workload.items * scale)))})
        return rows


def _one_workload(workload: Workload, pythons: Sequence[str], rounds: int, env: dict[str, str]) -> list[Row]:
    workers = ["threads", "processes"] if workload.workers else [None]
    stores = ["shared", "managed"] if workload.store else [None]
    settings = list(product(workers, stores))
    with ExitStack() as stack:
        children = [
            stack.enter_context(_Child(workload.name, python, setting, env))
            for python in pythons
            for setting in settings
        ]
        for number in range(rounds + 1):
            for child in children:
                child.run_round(measured=number > 0)
    return [child.row for child in children]


class _Child:
    """A process of child.py and the row that it fills.

    Thread-safety: compatible.
    """

    def __init__(self, workload: str, python: str, setting: tuple[str | None, str | None], env: dict[str, str]) -> None:
        self.row = Row(workload=workload, python=python, workers=setting[0], store=setting[1])
        # A file, because nobody reads a pipe while the workload prints into it.
        self._output = TemporaryFile("w+")  # noqa: SIM115 - __exit__ closes it
        wanted = {"OFFGIL_WORKERS": setting[0] or "", "OFFGIL_STORE": setting[1] or ""}
        try:
            self._process: subprocess.Popen[str] | None = subprocess.Popen(
                [python, "-m", "offgil.compare.child", workload],
                env=os.environ | env | wanted,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._output,
                text=True,
            )
        except OSError as exc:
            self._process = None
            self.row.error = f"cannot be started: {exc}"

    def __enter__(self) -> _Child:
        if self._process is not None and (hello := self._answer()) is not None:
            self.row.introduce(hello)
        return self

    def __exit__(self, *_: object) -> None:
        self._output.close()
        if self._process is None:
            return
        try:
            self._process.communicate(timeout=10)  # the end of its input ends it
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def run_round(self, *, measured: bool) -> None:
        """Run the workload once; nothing happens after an error."""
        if self.row.error or self._process is None:
            return
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except OSError:
            pass  # it has ended; reading says how
        answer = self._answer()
        if answer is not None:
            self.row.add(answer, measured=measured)

    def _answer(self) -> dict[str, Any] | None:
        process = self._process
        assert process is not None
        assert process.stdout is not None
        line = _read_line(process.stdout)
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        process.kill()
        process.communicate()
        self._output.seek(0)
        text = self._output.read().strip()
        last = text.splitlines()[-1] if text else f"no answer within {ROUND:g} s"
        self.row.error = f"{last} (exit status {process.returncode})"
        self._process = None
        return None


def _read_line(pipe: IO[str]) -> str:
    """A line, or nothing where it ended or took too long.  Each line is one write, so there is never half of one."""
    return pipe.readline() if select.select([pipe], [], [], ROUND)[0] else ""


@contextmanager
def _mock_server() -> Iterator[str]:
    with TemporaryDirectory() as folder:
        ready = Path(folder) / "url"
        command = [sys.executable, "-m", "offgil.cli", "mock-server", "--ready-file", str(ready)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                until = time.monotonic() + _SERVER_START
                while not ready.exists():
                    if process.poll() is not None or time.monotonic() > until:
                        raise RuntimeError("the mock server did not start; offgil[cli] has what it needs")
                    time.sleep(0.01)
                yield ready.read_text().strip()
            finally:
                process.terminate()
