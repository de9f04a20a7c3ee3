"""ci/demo: build offgil, start the mock LLM server on loopback, and send it 20,000 chat completions.

Each answer then goes to a function of examples/judge_answers.py, on worker threads or processes.

The run is the same on each interpreter: one with a GIL, and a free-threaded one where it is at hand.  The
server runs on the first one for both, so that the two runs differ on the client's side only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from offgil_ci import environments, interpreters, packages
from offgil_ci.paths import LOGS, ROOT
from offgil_ci.probe import Interpreter
from offgil_ci.process import StepFailed, clean_environment, tail

RESULTS = ROOT / "demo-results"
REQUESTS = 20_000
CONCURRENCY = 256
# Of each answer, in seconds.  256 in flight at 50 ms are at most 5,120 answers a second.
LATENCY = 0.05
SERVER_START = 30


def write_requests(path: Path) -> None:
    """A file in OpenAI's Batch format, one request a line."""
    with path.open("w") as stream:
        for number in range(1, REQUESTS + 1):
            question = {"role": "user", "content": f"What is {number} times {number}?"}
            request = {
                "custom_id": f"request-{number:06}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "mock", "messages": [question]},
            }
            stream.write(json.dumps(request) + "\n")


@contextlib.contextmanager
def mock_server(python: Path) -> Iterator[str]:
    """Run `offgil mock-server` on a free port of loopback; yields its base URL."""
    ready, log = LOGS / "mock-server.url", LOGS / "mock-server.log"
    ready.unlink(missing_ok=True)
    options = ["--host", "127.0.0.1", "--port", "0", "--latency", str(LATENCY), "--ready-file", str(ready)]
    with log.open("w") as stream:
        server = subprocess.Popen(
            [python.with_name("offgil"), "mock-server", *options],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=clean_environment(),
        )
    try:
        deadline = time.monotonic() + SERVER_START
        while not ready.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise StepFailed(f"the mock server did not start.  The end of {log}:\n{tail(log)}")
            time.sleep(0.05)
        yield ready.read_text().strip()
    finally:
        server.terminate()
        server.wait()


def run_batch(name: str, python: Path, requests: Path, url: str) -> None:
    """Run `offgil batch` with our terminal, so that its progress bar and its summary show."""
    results = RESULTS / f"results-{name}.jsonl"
    results.unlink(missing_ok=True)
    command = [python.with_name("offgil"), "batch", requests, results, "--base-url", url]
    # The function runs on worker threads or processes, by the interpreter.
    words = [*map(str, command), "--concurrency", str(CONCURRENCY), "--process", "judge_answers:judge"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, env=clean_environment(), cwd=ROOT / "examples", check=False)
    if done.returncode != 0:
        raise StepFailed(f"`offgil batch` exited with {done.returncode}")


def choose(*, build: bool) -> list[tuple[str, Interpreter]]:
    """One interpreter with a GIL, then a free-threaded one where it is at hand; the pair before others."""
    columns = interpreters.search(interpreters.PAIR) if build else []
    columns += interpreters.search(make=False)
    found = [(column.name, column.interpreter) for column in columns if column.interpreter]
    found.sort(key=lambda item: item[0] not in interpreters.PAIR)
    with_gil = [item for item in found if not item[1].free_threaded]
    if not with_gil:
        raise StepFailed("no CPython of 3.11 or newer is at hand.  Run ci/demo --all, which builds one")
    return with_gil[:1] + [item for item in found if item[1].free_threaded][:1]


def main(arguments: list[str] | None = None) -> int:
    """The command ci/demo."""
    parser = argparse.ArgumentParser(prog="ci/demo", description="Send 20,000 chat completions to a mock server.")
    parser.add_argument(
        "--all", action="store_true", help="build CPython 3.13 and 3.13t first where they are not at hand"
    )
    options = parser.parse_args(arguments)
    try:
        packages.ensure(packages.EXTENSION)
        chosen = choose(build=options.all)
        pythons = {}
        for name, interpreter in chosen:
            print(f"building offgil for CPython {name} ({interpreter.path})", flush=True)
            wheel = environments.build_wheel(interpreter, name)
            environment = f"demo-{name}"
            pythons[name] = environments.install(wheel, environment, interpreter, extras="cli", reuse=True)
        RESULTS.mkdir(exist_ok=True)
        requests = RESULTS / "requests.jsonl"
        write_requests(requests)
        with mock_server(pythons[chosen[0][0]]) as url:
            for name, python in pythons.items():
                print(f"\n== CPython {name}: {REQUESTS:,} requests, {CONCURRENCY} at a time", flush=True)
                run_batch(name, python, requests, url)
    except StepFailed as error:
        print(f"ci/demo: {error}", file=sys.stderr)
        return 1
    if not any(interpreter.free_threaded for _, interpreter in chosen):
        print("\nFor the same under free-threaded CPython: ci/demo --all (builds it once, about five minutes)")
    return 0
