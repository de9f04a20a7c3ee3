"""``offgil batch --process``."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from servers import mock_server

from .conftest import BatchJob, chat

HERE = str(Path(__file__).parent)


@pytest.fixture(params=["threads", "processes"])
def env(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "processes" and sys.platform != "linux":
        pytest.skip("worker processes need Linux")
    return {**os.environ, "OFFGIL_WORKERS": request.param, "PYTHONPATH": HERE}


def test_what_the_function_returns_is_in_the_line(job: BatchJob, env: dict[str, str]) -> None:
    job.write(chat(number) for number in range(200))
    with mock_server() as url:
        done = job.run(url, "--concurrency", "16", "--process", "batch_functions:text", env=env)
    assert done.code == 0, done.stderr
    results = job.by_id()
    assert len(results) == 200
    for number in range(200):
        assert results[f"request-{number}"]["processed"] == {
            "id": f"request-{number}",
            "url": "/v1/chat/completions",
            "asked": f"hello {number}",
            "said": f"echo: hello {number}",
        }
    job.check_answers(range(200))


def test_an_exception_marks_its_line_only(job: BatchJob, env: dict[str, str]) -> None:
    job.write(chat(number) for number in range(20))
    with mock_server() as url:
        done = job.run(url, "--process", "batch_functions:refuse_odd", env=env)
    assert done.code == 1
    for number in range(20):
        line = job.by_id()[f"request-{number}"]
        assert line["response"]["status_code"] == 200
        if number % 2:
            assert line["error"] == {"code": "process_failed", "message": f"ValueError: {number} is odd"}
            assert line["processed"] is None
        else:
            assert (line["error"], line["processed"]) == (None, number)


def test_a_worker_that_dies_marks_its_line_only(job: BatchJob, env: dict[str, str]) -> None:
    if env["OFFGIL_WORKERS"] == "threads":
        pytest.skip("os._exit in a thread ends the whole program")
    job.write(chat(number) for number in range(10))
    with mock_server() as url:
        done = job.run(url, "--process", "batch_functions:die_at_three", env=env)
    assert done.code == 1
    lines = job.by_id()
    assert "WorkerDied" in lines["request-3"]["error"]["message"]
    assert [line["processed"] for name, line in sorted(lines.items()) if name != "request-3"] == ["alive"] * 9


def test_what_is_no_json_marks_the_line(job: BatchJob, env: dict[str, str]) -> None:
    job.write([chat(1)])
    with mock_server() as url:
        done = job.run(url, "--process", "batch_functions:no_json", env=env)
    assert done.code == 1
    assert "not JSON serializable" in job.by_id()["request-1"]["error"]["message"]


@pytest.mark.parametrize(
    "wrong", ["batch_functions", "batch_functions:absent", "no_such_module:f", "batch_functions:number"]
)
def test_what_is_no_function_is_refused_before_anything_is_sent(job: BatchJob, env: dict[str, str], wrong: str) -> None:
    job.write([chat(1)])
    done = job.run("http://127.0.0.1:1", "--process", wrong, env=env)
    assert done.code == 2
    assert wrong in done.stderr
    assert not job.results.exists()


def test_ctrl_c_fails_no_line_and_a_resumed_run_does_the_rest(job: BatchJob, env: dict[str, str]) -> None:
    job.write(chat(number) for number in range(100))
    options = ("--concurrency", "4", "--process", "batch_functions:slow")
    with mock_server() as url:
        with job.start(url, *options, env=env, start_new_session=True) as process:
            wait_for_lines(job, 3)
            # As a terminal does it: to every process of the group.
            os.killpg(process.pid, signal.SIGINT)
            process.communicate(timeout=60)
        assert process.returncode == 130
        assert {line["processed"] for line in job.lines()} == {"slow"}
        assert job.run(url, *options, "--resume", env=env).code == 0
    results = job.by_id()
    assert len(results) == 100
    assert all((line["processed"], line["error"]) == ("slow", None) for line in results.values())


def wait_for_lines(job: BatchJob, count: int) -> None:
    until = time.monotonic() + 60
    while not job.results.exists() or len(job.results.read_text().splitlines()) < count:
        assert time.monotonic() < until
        time.sleep(0.01)
