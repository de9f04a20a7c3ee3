from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


def chat(number: int, text: str = "hello") -> dict[str, Any]:
    return {
        "custom_id": f"request-{number}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "mock", "messages": [{"role": "user", "content": f"{text} {number}"}]},
    }


@dataclass(frozen=True)
class Finished:
    code: int
    stdout: str
    stderr: str
    max_rss: int  # bytes


@dataclass(frozen=True)
class BatchJob:
    """A requests file, a results file, and ``offgil batch`` over them in a child process."""

    requests: Path
    results: Path
    summary: Path

    def write(self, lines: Iterable[dict[str, Any] | str]) -> None:
        with self.requests.open("w") as file:
            for line in lines:
                file.write((line if isinstance(line, str) else json.dumps(line)) + "\n")

    def start(self, base_url: str, *options: str, **popen: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "offgil.cli", "batch", str(self.requests), str(self.results)]
        command += ["--base-url", base_url, "--summary-json", str(self.summary), *options]
        popen = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", **popen}
        return subprocess.Popen(command, **popen)

    def run(self, base_url: str, *options: str, **popen: Any) -> Finished:
        with self.start(base_url, *options, **popen) as process:
            # Neither pipe can fill up: a run prints less than a page.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.stdout is not None
            assert process.stderr is not None
            output = process.stdout.read(), process.stderr.read()
        return Finished(process.returncode, *output, max_rss=usage.ru_maxrss * 1024)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.results.read_text().splitlines()]

    def by_id(self) -> dict[str, dict[str, Any]]:
        """The results by custom_id; each may occur once only."""
        lines = [line for line in self.lines() if line["custom_id"] is not None]
        results = {line["custom_id"]: line for line in lines}
        assert len(results) == len(lines)
        return results

    def figures(self) -> dict[str, Any]:
        figures: dict[str, Any] = json.loads(self.summary.read_text())
        return figures

    def check_answers(self, numbers: Iterable[int], text: str = "hello") -> None:
        """Exactly the requests of these numbers have exactly one answer each, and it is their own."""
        expected = {f"request-{n}": f"echo: {text} {n}" for n in numbers}
        got = {
            custom_id: line["response"]["body"]["choices"][0]["message"]["content"]
            for custom_id, line in self.by_id().items()
        }
        assert got == expected


@pytest.fixture
def job(tmp_path: Path) -> BatchJob:
    return BatchJob(tmp_path / "requests.jsonl", tmp_path / "results.jsonl", tmp_path / "summary.json")
