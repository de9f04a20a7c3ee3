"""Real LitServe servers with the transport: processes and threads, dead workers, shutdown, the example."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import offgil

pytest.importorskip("litserve", reason="litserve is not installed")

TESTS = Path(__file__).parent.parent
APP = TESTS / "litserve_app.py"
EXAMPLE = TESTS.parent / "examples" / "litserve_stream.py"
SOON = 10  # seconds, on a busy machine; what hangs takes 30 and more


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A program that serves on the port that it is given, in a process group of its own."""

    def __init__(self, folder, program, *words):
        self.log = folder / "log.txt"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        with self.log.open("w") as log:
            command = [sys.executable, program, *(word.format(port=port) for word in words)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        self.client = offgil.Client(base_url=self.url, timeout=60)
        limit = time.monotonic() + 60
        while True:
            try:
                if self.client.get("/health").is_success:
                    return
            except offgil.TransportError:
                pass
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < limit, self.log.read_text()
            time.sleep(0.05)

    def post(self, path, json):
        return self.client.post(path, json=json)

    def kill(self):
        self.client.close()
        with suppress(ProcessLookupError):  # it has ended
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("litserve"), APP, "{port}", "2", "process")
    yield made
    made.kill()


@pytest.fixture
def background():
    with ThreadPoolExecutor(16) as pool:
        yield pool.submit


@pytest.fixture
def workers(server, background):
    """A function that says who answers: it asks until it has seen two."""

    def look():
        pids = set()
        limit = time.monotonic() + 30
        while len(pids) < 2:
            assert time.monotonic() < limit, pids
            answers = [background(server.post, "/plain", {"sleep": 0.01}) for _ in range(16)]
            pids |= {answer.result().raise_for_status().json()["output"] for answer in answers}
        return pids

    return look


def test_many_requests(server, background, workers):
    answers = [background(server.post, "/plain", {}) for _ in range(200)]
    assert all(answer.result().is_success for answer in answers)
    assert len(workers()) == 2


def test_batches(server, background):
    """One that cannot be sent does not fail the others of its batch."""
    bodies = [{"unsendable": 1} if number % 4 == 0 else {} for number in range(16)]
    answers = [background(server.post, "/batched", body) for body in bodies]
    assert [answer.result().status_code for answer in answers] == [500, 200, 200, 200] * 4


def test_streams(server, background):
    expected = "".join(f"{number} " for number in range(500)) + "pid "
    for answer in [background(server.post, "/streamed", {"tokens": 500}) for _ in range(8)]:
        assert answer.result().text.rstrip("0123456789") == expected


@pytest.mark.parametrize("stream", [False, True])
def test_openais_interface(server, stream):
    body = {"model": "m", "messages": [{"role": "user", "content": "count"}], "stream": stream, "n": 2}
    answer = server.post("/v1/chat/completions", body).raise_for_status()
    if stream:
        assert [answer.text.count(f'"{word}"') for word in ("one ", "two ", "three")] == [2, 2, 2]
    else:
        assert answer.json()["choices"][0]["message"]["content"] == "one two three"


def test_a_stream_comes_as_it_is_made(server):
    with server.client.stream("POST", "/streamed", json={"sleep": 1, "tokens": 1}) as response:
        chunks = response.iter_bytes()
        before = time.monotonic()
        assert next(chunks) == b"0 "
        assert next(chunks).startswith(b"pid ")
        assert time.monotonic() - before > 0.5


@pytest.mark.parametrize("body", [{"unsendable": 1}, {"large": 3 << 20}])
def test_an_unsendable_result_fails_its_request_only(server, background, workers, body):
    before = workers()
    others = [background(server.post, "/plain", {}) for _ in range(10)]
    failed = server.post("/plain", body)
    assert failed.status_code == 500
    assert "cannot be sent" in failed.json()["detail"]
    assert all(other.result().is_success for other in others)
    assert workers() == before


@pytest.mark.parametrize("how", ["exit", "kill", "raise"])
def test_a_dead_workers_request_ends_and_others_go_on(server, background, how):
    before = time.monotonic()
    died = background(server.post, "/plain", {"die": how})
    others = [background(server.post, "/plain", {}) for _ in range(10)]
    response = died.result()
    assert response.status_code == 500
    assert "died" in response.json()["detail"]
    assert time.monotonic() - before < SOON
    assert all(other.result().is_success for other in others)


def test_a_dead_workers_stream_ends(server):
    """LitServe has sent the status by then."""
    assert server.post("/streamed", {"die": "exit"}).text == "0 1 2 "
    assert server.post("/streamed", {}).is_success


def test_a_client_that_goes_harms_nobody(server):
    with server.client.stream("POST", "/streamed", json={"tokens": 100_000}) as response:
        next(response.iter_bytes())
    assert server.post("/streamed", {"tokens": 3}).is_success


def test_open_requests_do_not_hold_up_the_shutdown(server, background):
    """The last test of this server."""
    pending = background(server.post, "/plain", {"sleep": 60})
    time.sleep(0.3)
    before = time.monotonic()
    server.process.send_signal(signal.SIGINT)
    assert pending.result().status_code == 503
    server.process.wait(30)
    assert time.monotonic() - before < SOON


def test_servers_that_are_threads(tmp_path):
    """LitServe alone answers after 100 ms, when the right event loop wakes for another reason."""
    server = Server(tmp_path, APP, "{port}", "2", "thread")
    try:
        server.post("/plain", {})
        times = []
        for _ in range(40):
            # Each on a connection of its own, so that both threads get some.
            before = time.monotonic()
            with offgil.Client(base_url=server.url) as client:
                assert client.post("/plain", json={}).is_success
            times.append(time.monotonic() - before)
        assert sorted(times)[len(times) // 2] < 0.09
        assert server.post("/plain", {"die": "exit"}).status_code == 500
        assert server.post("/plain", {}).is_success
    finally:
        server.kill()


def test_example(tmp_path):
    server = Server(tmp_path, EXAMPLE, "--port", "{port}")
    try:
        body = {"prompt": "beautiful is ", "tokens": 300, "seed": 1}
        answer = server.post("/predict", body).raise_for_status().text
        assert len(answer) == 300
        assert server.post("/predict", body).text == answer
    finally:
        server.kill()
