from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mock_calls import CHAT, MESSAGES, chat, connect, post, send, stream
from servers import mock_server


def test_answer_echoes_its_request_over_one_connection(llm: str) -> None:
    connection = connect(llm)
    ids = set()
    for text in ("hi", "there", "\u00e9\u20ac"):
        status, answer = post(connection, chat(text))
        assert status == 200
        assert answer["object"] == "chat.completion"
        assert answer["model"] == "m"
        (choice,) = answer["choices"]
        assert choice["message"] == {"role": "assistant", "content": f"echo: {text}", "refusal": None}
        assert choice["finish_reason"] == "stop"
        usage = answer["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0
        assert post(connection, chat(text)) == (200, answer)  # the same request, the same answer
        ids.add(answer["id"])
    assert len(ids) == 3
    assert connection.sock is not None  # never closed by the server
    connection.close()


def test_parts_of_text_are_joined(llm: str) -> None:
    image = {"type": "image_url", "image_url": {}}
    parts = [{"type": "text", "text": "a"}, image, {"type": "text", "text": "b"}]
    assert send(llm, chat(parts))[1]["choices"][0]["message"]["content"] == "echo: ab"


def test_stream(llm: str) -> None:
    body = chat("one two  three", stream=True, stream_options={"include_usage": True})
    *chunks, done = stream(llm, body)
    assert done == ("", "[DONE]")
    *deltas, last = (chunk for _, chunk in chunks)
    assert {chunk["object"] for chunk in deltas} == {"chat.completion.chunk"}
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in deltas) == "echo: one two  three"
    assert [c["choices"][0]["finish_reason"] for c in deltas][-2:] == [None, "stop"]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] > 0


def test_get_routes(llm: str) -> None:
    connection = connect(llm)
    for path, key in (("/v1/models", "data"), ("/health?x=1", "status")):
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        assert key in json.loads(response.read())
    connection.close()


@pytest.mark.parametrize(
    ("body", "path", "status"),
    [
        (b"{", CHAT, 400),
        (b"\xff", CHAT, 400),
        (b"[" * 100_000, CHAT, 400),
        (b"[]", CHAT, 400),
        ({"messages": MESSAGES}, CHAT, 400),
        ({"model": "m"}, CHAT, 400),
        ({"model": "m", "messages": []}, CHAT, 400),
        (
            b'{"model": "m", "messages": [{"role": "user", "content": %s1%s}]}'
            % (b'[{"content":' * 5000, b"}]" * 5000),
            CHAT,
            400,
        ),
        ({}, "/v1/nowhere", 404),
        ({}, "/v1/models", 405),
    ],
)
def test_bad_requests_get_an_error_in_the_apis_form(llm: str, body: object, path: str, status: int) -> None:
    connection = connect(llm)
    got, answer = post(connection, body, path)
    assert got == status
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["message"]
    assert post(connection, chat("still open"))[0] == 200
    connection.close()


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" * 50 + b"\r\n\r\n"])
def test_what_is_not_http_is_refused_and_the_server_goes_on(llm: str, data: bytes) -> None:
    parts = urlsplit(llm)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as raw:
        raw.sendall(data)
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert send(llm, chat("still there"))[0] == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [("HEAD /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close", 404), ("GET /health HTTP/1.0", 200)],
)
def test_head_and_http_1_0(llm: str, head: str, status: int) -> None:
    parts = urlsplit(llm)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as raw:
        raw.sendall(head.encode() + b"\r\n\r\n")
        answer = b"".join(iter(lambda: raw.recv(65536), b""))
    head_end = answer.index(b"\r\n\r\n") + 4
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert (len(answer) == head_end) == head.startswith("HEAD")


def test_pipelined_requests_are_answered_in_order(llm: str) -> None:
    parts = urlsplit(llm)
    texts = [f"request {n}" for n in range(5)]
    data = b""
    for text in texts:
        body = json.dumps(chat(text)).encode()
        close = b"Connection: close\r\n" if text == texts[-1] else b""
        data += b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + close
        data += b"Content-Length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as raw:
        for start in range(0, len(data), 100):
            raw.sendall(data[start : start + 100])
        answer = b"".join(iter(lambda: raw.recv(65536), b"")).decode()
    assert answer.count("HTTP/1.1 200 ") == 5
    assert sorted(texts, key=lambda text: answer.index(f"echo: {text}")) == texts


def statuses(*options: str) -> list[int]:
    with mock_server(*options) as url:
        connection = connect(url)
        got = [post(connection, chat("x"))[0] for _ in range(60)]
        connection.close()
    return got


def test_errors_come_in_turn_and_depend_on_the_seed_alone() -> None:
    first = statuses("--error-rate", "0.5", "--seed", "3")
    failed = [status for status in first if status != 200]
    assert 15 <= len(failed) <= 45
    assert failed == ([429, 500, 503] * 20)[: len(failed)]
    assert statuses("--error-rate", "0.5", "--seed", "3") == first
    assert statuses("--error-rate", "0.5", "--seed", "4") != first


def test_rate_limit_answer_names_the_delay() -> None:
    with mock_server("--error-rate", "1", "--retry-after", "7") as url:
        connection = connect(url)
        connection.request("POST", CHAT, json.dumps(chat("x")))
        response = connection.getresponse()
        assert response.status == 429
        assert response.headers["retry-after"] == "7"
        assert json.loads(response.read())["error"]["code"] == "rate_limit_exceeded"
        connection.request("GET", "/health")  # errors are for the API only
        assert connection.getresponse().status == 200
        connection.close()


def test_latency_delays_each_answer_but_not_other_connections() -> None:
    with mock_server("--latency", "0.5") as url:
        connections = [connect(url) for _ in range(20)]
        started = time.monotonic()
        for connection in connections:
            connection.request("POST", CHAT, json.dumps(chat("x")))
        assert all(connection.getresponse().status == 200 for connection in connections)
        elapsed = time.monotonic() - started
        for connection in connections:
            connection.close()
    assert 0.5 <= elapsed < 20 * 0.5


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_with_a_connection_open_and_an_answer_due(tmp_path: Path, signum: int) -> None:
    ready = tmp_path / "url"
    command = [sys.executable, "-m", "offgil.cli", "mock-server", "--latency", "60"]
    command += ["--ready-file", str(ready)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            assert url == ready.read_text().strip()
            with closing(connect(url)) as busy, closing(connect(url)) as idle:
                busy.request("POST", CHAT, json.dumps(chat("x")))
                idle.connect()
                server.send_signal(signum)
                _, stderr = server.communicate(timeout=30)
        finally:
            server.kill()
    assert server.returncode == 0
    assert stderr == ""


def test_port_in_use_is_a_clear_error(llm: str) -> None:
    command = [sys.executable, "-m", "offgil.cli", "mock-server", "--port", str(urlsplit(llm).port)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "cannot listen on 127.0.0.1" in run.stderr
    assert "Traceback" not in run.stderr
