from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from servers import Received, Reply, scripted_server

from .conftest import BatchJob, chat


def test_every_request_gets_its_own_answer(job: BatchJob, llm: str) -> None:
    job.write(chat(n) for n in range(300))
    run = job.run(llm, "--concurrency", "32")
    assert run.code == 0, run.stderr
    job.check_answers(range(300))
    line = job.lines()[0]
    assert line.keys() == {"id", "custom_id", "response", "error"}
    assert line["error"] is None
    assert line["response"]["status_code"] == 200
    assert line["response"]["request_id"].startswith("req_")
    assert len({line["id"] for line in job.lines()}) == 300
    figures = job.figures()
    assert (figures["requests"], figures["ok"], figures["failed"]) == (300, 300, 0)
    assert figures["complete"]
    assert figures["results"] == str(job.results)
    assert 0 < figures["latency"]["p50"] <= figures["latency"]["p99"] <= figures["latency"]["max"]
    assert "300 ok, 0 failed" in run.stdout


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_base_url_with_and_without_the_version(job: BatchJob, llm: str, suffix: str) -> None:
    job.write([chat(0)])
    assert job.run(llm + suffix).code == 0
    job.check_answers([0])


def test_no_requests(job: BatchJob, llm: str) -> None:
    job.write([])
    assert job.run(llm).code == 0
    assert job.lines() == []


def test_headers_and_key_are_sent(job: BatchJob) -> None:
    job.write([chat(0)])
    with scripted_server(lambda request, _: Reply(b"{}")) as server:
        options = ["--header", "X-One: 1", "--header", "X-Two: a: b", "--api-key-env", "THE_KEY"]
        run = job.run(server.url, *options, env={**os.environ, "THE_KEY": "secret"})
    assert run.code == 0, run.stderr
    headers = server.received[0].headers
    assert headers["x-one"] == "1"
    assert headers["x-two"] == "a: b"
    assert headers["authorization"] == "Bearer secret"
    assert headers["content-type"] == "application/json"
    assert json.loads(server.received[0].body) == chat(0)["body"]
    assert "secret" not in run.stdout + run.stderr


def test_request_rate_is_limited(job: BatchJob, llm: str) -> None:
    job.write(chat(n) for n in range(25))
    assert job.run(llm, "--requests-per-minute", "600").code == 0
    # Ten at once, and fifteen more at ten a second; only ever slower.
    assert job.figures()["seconds"] >= 1.4


def test_token_rate_follows_the_usage(job: BatchJob) -> None:
    def answer(_: Received, __: int) -> Reply:
        return Reply(b'{"usage": {"total_tokens": 100}}')

    job.write(chat(n) for n in range(4))
    with scripted_server(answer) as server:
        assert job.run(server.url, "--tokens-per-minute", "6000", "--concurrency", "1").code == 0
    # A second's worth is one request's.  The second goes on credit; the others wait until it is paid.
    assert job.figures()["seconds"] >= 1.9


def test_memory_does_not_grow_with_the_file(job: BatchJob, llm: str) -> None:
    peaks = []
    for count in (500, 5_500):
        job.write(chat(n, text="x" * 6_000) for n in range(count))
        run = job.run(llm, "--concurrency", "16", "--overwrite")
        assert run.code == 0, run.stderr
        assert job.figures()["ok"] == count
        peaks.append(run.max_rss)
    # Requests or answers, if kept, would be 30 MB more each.
    assert peaks[1] - peaks[0] < 16 << 20


@pytest.mark.parametrize(
    "options",
    [
        ["--base-url", "127.0.0.1:80"],
        ["--base-url", "ftp://127.0.0.1"],
        ["--base-url", "http://127.0.0.1/?a=1"],
        ["--concurrency", "0"],
        ["--header", "no colon"],
        ["--api-key-env", "NOT_SET_ANYWHERE"],
        ["--header", "X: a\r\nY: b"],
        ["--requests-per-minute", "0"],
        ["--requests-per-minute", "nan"],
        ["--retry-failed"],
        ["--resume", "--overwrite"],
    ],
)
def test_bad_usage_sends_nothing(job: BatchJob, llm: str, options: list[str]) -> None:
    job.write([chat(0)])
    run = job.run(llm, *options)
    assert run.code == 2
    assert "Error" in run.stderr
    assert not job.results.exists()


def test_figures_that_cannot_be_written_do_not_hide_the_outcome(job: BatchJob, llm: str) -> None:
    job.write([chat(0)])
    run = job.run(llm, "--summary-json", "/nowhere/figures.json")
    assert run.code == 1
    assert "/nowhere/figures.json" in run.stderr
    assert "1 ok, 0 failed" in run.stdout
    job.check_answers([0])


def test_a_terminal_gets_a_progress_bar(job: BatchJob) -> None:
    def answer(_: Received, number: int) -> Reply:
        if number == 3:
            time.sleep(1.5)  # the bar is drawn every quarter of a second
        return Reply(b"{}")

    job.write(chat(n) for n in range(4))
    master, terminal = pty.openpty()
    env = {**os.environ, "TERM": "xterm"}
    with (
        open(master, "rb", buffering=0) as screen,
        scripted_server(answer) as server,
        job.start(server.url, "--concurrency", "1", stderr=terminal, env=env) as process,
    ):
        os.close(terminal)
        shown = b""
        with suppress(OSError):  # how a terminal ends when the other side is closed
            while chunk := screen.read(65536):
                shown += chunk
    assert process.returncode == 0
    assert b"75%" in shown
    assert b"3 done, 0 failed" in shown


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_the_remedy_is_named(missing: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv = ['offgil', 'batch', '--help'];"
        "from offgil.cli.__main__ import main; main()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert missing in run.stderr
    assert "pip install 'offgil[cli]'" in run.stderr


def test_batch_does_not_load_the_mock_server() -> None:
    code = "import sys, offgil.cli.group as g; g.cli.get_command(None, 'batch'); print('h11' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
