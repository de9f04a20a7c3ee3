from __future__ import annotations

from servers import Received, Reply, mock_server, scripted_server

from .conftest import BatchJob, chat


def test_retry_after_is_waited_for(job: BatchJob) -> None:
    def answer(_: Received, number: int) -> Reply:
        return Reply(b"{}", 429, {"Retry-After": "1"}) if number == 0 else Reply(b"{}")

    job.write([chat(0)])
    with scripted_server(answer) as server:
        assert job.run(server.url).code == 0
    first, second = (request.at for request in server.received)
    assert second - first >= 1.0
    assert server.received[0].body == server.received[1].body
    assert job.figures()["retried"] == 1


def test_the_last_answer_stands_when_attempts_run_out(job: BatchJob) -> None:
    job.write([chat(0)])
    with scripted_server(lambda request, n: Reply(b'{"attempt": %d}' % n, 503)) as server:
        assert job.run(server.url, "--retries", "2").code == 1
    assert len(server.received) == 3
    (line,) = job.lines()
    assert line["error"] is None
    assert line["response"]["status_code"] == 503
    assert line["response"]["body"] == {"attempt": 2}


def test_other_client_errors_are_final(job: BatchJob) -> None:
    job.write([chat(0)])
    with scripted_server(lambda request, _: Reply(b"{}", 404)) as server:
        assert job.run(server.url).code == 1
    assert len(server.received) == 1
    assert job.lines()[0]["response"]["status_code"] == 404


def test_a_server_that_asks_for_an_hour_is_not_asked_again(job: BatchJob) -> None:
    job.write([chat(0)])
    with scripted_server(lambda request, _: Reply(b"{}", 429, {"Retry-After": "3600"})) as server:
        assert job.run(server.url).code == 1
    assert len(server.received) == 1
    assert job.lines()[0]["response"]["status_code"] == 429


def test_everything_is_answered_by_a_server_that_often_fails(job: BatchJob) -> None:
    job.write(chat(n) for n in range(200))
    with mock_server("--error-rate", "0.2", "--retry-after", "0", "--seed", "1") as url:
        run = job.run(url, "--retries", "30", "--concurrency", "64")
    assert run.code == 0, run.stderr
    job.check_answers(range(200))
    assert job.figures()["retried"] > 10


def test_max_errors_stops_the_run_and_retry_failed_mends_it(job: BatchJob, llm: str) -> None:
    job.write(chat(n) for n in range(100))
    with scripted_server(lambda request, _: Reply(b"{}", 400)) as server:
        run = job.run(server.url, "--max-errors", "10", "--concurrency", "1")
    assert run.code == 1
    assert "--resume" in run.stderr
    assert len(job.lines()) == len(server.received) == 10
    assert not job.figures()["complete"]

    # Failed results are final ...
    assert job.run(llm, "--resume").code == 1
    assert len(job.by_id()) == 100
    assert job.figures()["skipped_failed"] == 10
    # ... until asked for.
    assert job.run(llm, "--resume", "--retry-failed").code == 0
    job.check_answers(range(100))


def test_retry_failed_reads_mended_lines_again(job: BatchJob, llm: str) -> None:
    job.write([chat(0), "{", chat(2)])
    assert job.run(llm).code == 1
    job.write([chat(0), chat(1), chat(2)])
    assert job.run(llm, "--resume", "--retry-failed").code == 0
    job.check_answers(range(3))
