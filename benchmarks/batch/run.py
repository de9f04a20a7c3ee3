"""`offgil batch` beside a plain asyncio + httpx script: requests a second and peak memory against nginx on loopback.

    benchmarks/prepare
    python3 benchmarks/batch/run.py

Both do the same job: read a JSONL file, POST 256 at a time, write an answer a line.  The script does not retry,
resume or check for duplicates.  Wall and CPU time and memory are the whole process's, its start included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from nginx import nginx  # noqa: E402
from pythons import add_option, medians, versions  # noqa: E402

CONCURRENCY = 256


def write_requests(path: str, count: int) -> None:
    with open(path, "w") as target:
        for number in range(count):
            body = {"model": "mock", "messages": [{"role": "user", "content": f"question {number} " + "x" * 200}]}
            line = {"custom_id": f"request-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            target.write(json.dumps(line) + "\n")


def measure(command: list[str]) -> tuple[float, float, float]:
    """Run to the end; return wall seconds, CPU seconds and peak memory in MiB."""
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"failed with {child.returncode}: {command}")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_option(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--counts", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--script-up-to", type=int, help="leave the script out above so many: it takes a while")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder, nginx() as server:
        requests, results = f"{folder}/requests.jsonl", f"{folder}/results.jsonl"
        for python in options.python:
            print(f"Python {versions(python, ('offgil', 'httpx'))}\n")
            print("| requests | client | requests/s | CPU µs a request | peak MiB |\n|---|---|---|---|---|")
            batch = [python, "-m", "offgil.cli", "batch", requests, results, "--base-url", server.http, "--overwrite"]
            script = [python, str(HERE / "asyncio_httpx.py"), requests, results, server.http]
            commands = {
                "offgil batch": [*batch, "--concurrency", str(CONCURRENCY)],
                "asyncio + httpx": [*script, str(CONCURRENCY)],
            }
            for count in options.counts:
                write_requests(requests, count)
                if options.script_up_to is not None and count > options.script_up_to:
                    commands.pop("asyncio + httpx", None)
                rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in commands}
                # The largest file takes the script minutes: once is enough to see its memory.
                for _ in range(options.rounds if count <= 20_000 else 1):
                    for name, command in commands.items():
                        rows[name].append(measure(command))
                        with open(results) as answers:
                            assert sum(1 for _ in answers) == count
                for name, figures in rows.items():
                    wall, cpu, memory = medians(figures)
                    print(
                        f"| {count:,} | {name} | {count / wall:,.0f} | {cpu / count * 1e6:.0f} | {memory:.0f} |",
                        flush=True,
                    )
            print()


if __name__ == "__main__":
    main()
