from __future__ import annotations

import json
import socket

import pytest

from servers import Reply, scripted_server

from .conftest import BatchJob, chat


def changed(**fields: object) -> str:
    line = chat(1)
    for name, value in fields.items():
        if value is ...:
            del line[name]
        else:
            line[name] = value
    return json.dumps(line)


@pytest.mark.parametrize(
    ("line", "code", "has_id"),
    [
        ('{"custom_id": "request-1",', "invalid_json", False),
        ("[1, 2]", "invalid_json", False),
        ("\ufffd", "invalid_json", False),
        ('{"custom_id": NaN}', "invalid_json", False),
        ("[" * 100_000, "invalid_json", False),
        (changed(custom_id=...), "missing_custom_id", False),
        (changed(custom_id=""), "missing_custom_id", False),
        (changed(custom_id=7), "missing_custom_id", False),
        (changed(custom_id="request-0"), "duplicate_custom_id", False),
        (changed(method=...), "invalid_request", True),
        (changed(method="BREW"), "invalid_request", True),
        (changed(method=["POST"]), "invalid_request", True),
        (changed(url=...), "invalid_request", True),
        (changed(url="https://elsewhere.example/v1/chat/completions"), "invalid_request", True),
        (changed(url="/v1/\r\nX-Injected: 1"), "invalid_request", True),
        (changed(body=...), "invalid_request", True),
        (changed(body="text"), "invalid_request", True),
        (changed(body={"stream": True}), "invalid_request", True),
        (changed(body={"x": 0}).replace("0", "1e999"), "invalid_request", True),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_a_bad_line_gets_its_own_result_and_the_rest_goes_on(
    job: BatchJob, llm: str, line: str, code: str, has_id: bool
) -> None:
    job.write([chat(0), line, chat(2)])
    assert job.run(llm).code == 1
    results = job.lines()
    assert len(results) == 3
    (bad,) = [result for result in results if result["error"]]
    assert bad["custom_id"] == ("request-1" if has_id else None)
    assert bad["response"] is None
    assert bad["error"]["code"] == code
    assert has_id or (bad["error"]["line"] == 2 and "line 2" in bad["error"]["message"])
    results.remove(bad)
    assert {r["custom_id"] for r in results} == {"request-0", "request-2"}
    assert {r["response"]["status_code"] for r in results} == {200}
    assert job.figures()["rejected"] == 1

    # A resumed run finds nothing left to do, and still says that something failed.
    before = job.results.read_bytes()
    assert job.run(llm, "--resume").code == 1
    assert job.results.read_bytes() == before


def test_bytes_that_are_not_utf8(job: BatchJob, llm: str) -> None:
    job.requests.write_bytes(b'{"custom_id": "\xff"}\n' + json.dumps(chat(1)).encode())
    assert job.run(llm).code == 1
    assert sorted(result["custom_id"] or "" for result in job.lines()) == ["", "request-1"]


def test_bom_blank_lines_crlf_and_no_last_newline(job: BatchJob, llm: str) -> None:
    first, second = (json.dumps(chat(n)).encode() for n in range(2))
    job.requests.write_bytes(b"\xef\xbb\xbf" + first + b"\r\n\r\n  \n" + second)
    assert job.run(llm).code == 0
    job.check_answers([0, 1])


def test_any_string_is_a_custom_id_and_any_text_is_sent(job: BatchJob, llm: str) -> None:
    ids = ['"quoted"\n', "\u00e9\u20ac\U0001f600", "\ud800", "a" * 5_000]
    job.write({**chat(n, text="\ud800 \U0001f600"), "custom_id": custom_id} for n, custom_id in enumerate(ids))
    assert job.run(llm).code == 0
    assert set(job.by_id()) == set(ids)
    for n, custom_id in enumerate(ids):
        message = job.by_id()[custom_id]["response"]["body"]["choices"][0]["message"]
        assert message["content"] == f"echo: \ud800 \U0001f600 {n}"


def test_requests_file_is_not_there(job: BatchJob, llm: str) -> None:
    run = job.run(llm)
    assert run.code == 2
    assert str(job.requests) in run.stderr
    assert not job.results.exists()


def test_existing_results_are_refused_or_overwritten(job: BatchJob, llm: str) -> None:
    job.write([chat(0)])
    job.results.write_text("precious\n")
    run = job.run(llm)
    assert run.code == 2
    assert "--resume" in run.stderr
    assert job.results.read_text() == "precious\n"
    assert job.run(llm, "--overwrite").code == 0
    job.check_answers([0])


def test_results_cannot_be_the_requests(job: BatchJob, llm: str) -> None:
    job.write([chat(0)])
    job.results.symlink_to(job.requests)
    before = job.requests.read_bytes()
    assert job.run(llm, "--overwrite").code == 2
    assert job.requests.read_bytes() == before


def test_unreachable_host(job: BatchJob) -> None:
    job.write(chat(n) for n in range(3))
    with socket.socket() as reserved:  # bound but not listening: connections are refused
        reserved.bind(("127.0.0.1", 0))
        run = job.run(f"http://127.0.0.1:{reserved.getsockname()[1]}", "--retries", "1")
    assert run.code == 1
    results = job.by_id()
    assert set(results) == {"request-0", "request-1", "request-2"}
    for result in results.values():
        assert result["response"] is None
        assert result["error"]["code"] == "connect_error"
        assert "127.0.0.1" in result["error"]["message"]
    assert job.figures()["retried"] == 3


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        (b"<html>hello</html>", "<html>hello</html>"),
        (b"", ""),
        (b'{"half": ', '{"half": '),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 100_000, "[" * 100_000),
        (b'{"x": NaN}', '{"x": NaN}'),
    ],
    ids=["html", "empty", "half", "not-utf8", "deep", "nan"],
)
def test_an_answer_that_is_not_json_is_kept_as_text(job: BatchJob, body: bytes, kept: str) -> None:
    job.write([chat(0), chat(1)])
    with scripted_server(lambda request, number: Reply(body if number == 0 else b"{}")) as server:
        assert job.run(server.url, "--concurrency", "1").code == 1
    bad, good = job.lines()
    assert bad["response"]["body"] == kept
    assert bad["response"]["status_code"] == 200
    assert bad["error"]["code"] == "answer_not_json"
    assert good["error"] is None


def test_an_answer_of_several_lines_stays_on_its_line(job: BatchJob) -> None:
    body = json.dumps({"a": [1.10, "x\ny", {"b": None}]}, indent=2).replace("\n", "\r\n").encode()
    job.write([chat(0), chat(1)])
    with scripted_server(lambda request, _: Reply(body)) as server:
        assert job.run(server.url).code == 0
    assert [line["response"]["body"] for line in job.lines()] == [{"a": [1.1, "x\ny", {"b": None}]}] * 2
    assert "1.1" in job.results.read_text()
