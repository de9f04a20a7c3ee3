from __future__ import annotations

import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import Received, Reply, mock_server, scripted_server

from .conftest import BatchJob, chat

COUNT = 1_500


@pytest.fixture(scope="module")
def slow_llm() -> Iterator[str]:
    with mock_server("--latency", "0.02", "--jitter", "0.02") as url:
        yield url


def wait_for_lines(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < count):
        time.sleep(0.005)


def test_killed_twice_and_resumed_gives_each_request_one_answer(job: BatchJob, slow_llm: str) -> None:
    job.write([*(chat(n) for n in range(COUNT)), "malformed", chat(0)])
    counts = []
    for lines in (50, 500):
        with job.start(slow_llm, "--concurrency", "16", "--resume") as process:
            wait_for_lines(job.results, lines, process)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        counts.append(job.results.read_bytes().count(b"\n"))
    assert 50 <= counts[0] < counts[1] < COUNT

    run = job.run(slow_llm, "--resume")
    assert run.code == 1, run.stderr
    job.check_answers(range(COUNT))
    bad = [line["error"] for line in job.lines() if line["custom_id"] is None]
    assert [(error["code"], error["line"]) for error in bad] == [
        ("invalid_json", COUNT + 1),
        ("duplicate_custom_id", COUNT + 2),
    ]
    assert job.figures()["skipped"] >= counts[1]


@pytest.mark.parametrize("torn", [b'{"id', b'{"id":"batch_req_00","custom_id":"request-1","resp', b"\0" * 100])
def test_a_torn_last_line_is_cut_off(job: BatchJob, llm: str, torn: bytes) -> None:
    job.write([chat(0)])
    assert job.run(llm).code == 0
    with job.results.open("ab") as file:
        file.write(torn)
    job.write([chat(0), chat(1)])
    assert job.run(llm, "--resume").code == 0
    job.check_answers([0, 1])
    assert job.figures()["skipped"] == 1


@pytest.mark.parametrize(
    "content",
    ['{"my": "data"}\n', "notes without a newline", '{"custom_id": 1, "response": null, "error": {}}\n'],
)
def test_resume_leaves_another_file_alone(job: BatchJob, llm: str, content: str) -> None:
    job.write([chat(0)])
    job.results.write_text(content)
    run = job.run(llm, "--resume")
    assert run.code == 2
    assert "line 1" in run.stderr
    assert job.results.read_text() == content


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_keeps_its_answers_and_says_how_to_go_on(
    job: BatchJob, slow_llm: str, signum: int, code: int
) -> None:
    job.write(chat(n) for n in range(COUNT))
    with job.start(slow_llm, "--concurrency", "16") as process:
        wait_for_lines(job.results, 50, process)
        process.send_signal(signum)
        stdout, stderr = process.communicate()
    assert process.returncode == code, stderr
    assert "--resume" in stderr
    figures = job.figures()
    assert not figures["complete"]
    assert figures["ok"] == len(job.lines()) < COUNT
    assert f"{figures['ok']:,} ok, 0 failed" in stdout

    assert job.run(slow_llm, "--resume").code == 0
    job.check_answers(range(COUNT))


def test_second_interrupt_does_not_wait_for_answers(job: BatchJob) -> None:
    received, finished = threading.Event(), threading.Event()

    def answer(_: Received, __: int) -> Reply:
        received.set()
        finished.wait(60)
        return Reply(b"{}")

    job.write([chat(0)])
    with scripted_server(answer) as server, job.start(server.url) as process:
        assert received.wait(60)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        finished.set()
    assert process.returncode == 130
    assert job.lines() == []


def test_two_runs_cannot_share_a_results_file(job: BatchJob, slow_llm: str) -> None:
    job.write(chat(n) for n in range(COUNT))
    with job.start(slow_llm, "--concurrency", "8") as process:
        wait_for_lines(job.results, 1, process)
        for options in (["--resume"], ["--overwrite"]):
            second = job.run(slow_llm, *options)
            assert second.code == 2
            assert "another run" in second.stderr
        assert process.poll() is None
        process.kill()


def test_full_disk_loses_nothing(job: BatchJob, llm: str) -> None:
    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    job.write(chat(n) for n in range(200))
    run = job.run(llm, "--concurrency", "4", preexec_fn=limit_file_size)
    assert run.code == 1
    assert "--resume" in run.stderr
    assert os.path.getsize(job.results) <= 20_000
    assert job.run(llm, "--resume").code == 0
    job.check_answers(range(200))
