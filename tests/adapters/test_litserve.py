"""LitServe's transport over a store: what LitServe asks of it, and real servers with it."""

import asyncio
import multiprocessing
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

import offgil

pytest.importorskip("litserve", reason="litserve is not installed")
from fastapi import HTTPException
from litserve.utils import LoopResponseType

from mailbox_sides import answer_and_die, take_and_die
from offgil.adapters.litserve import RequestQueue, StoreTransport
from offgil.store import ManagedDictStore
from offgil.store.mailboxes import Mailboxes

APP = Path(__file__).parent.parent / "litserve_app.py"
SPAWN = multiprocessing.get_context("spawn")
REGULAR, STREAMING = LoopResponseType.REGULAR, LoopResponseType.STREAMING
SOON = 10  # seconds, on a busy machine; what hangs takes 30 and more


@pytest.fixture
def transport():
    made = StoreTransport(Mailboxes(2, max_bytes=1 << 20, ttl=60))
    yield made
    made.close()


@pytest.fixture
def requests(transport):
    return RequestQueue(transport, ManagedDictStore(max_bytes=1 << 20), streaming=True)


def receive(transport, consumer=0, count=1):
    async def main():
        async with asyncio.timeout(30):
            return [await transport.areceive(consumer) for _ in range(count)]

    return asyncio.run(main())


def test_send_is_durable(transport):
    worker = SPAWN.Process(target=answer_and_die, args=(transport, STREAMING))
    worker.start()
    worker.join(30)
    assert receive(transport, 0, 2) == [("u", ((), "START", STREAMING, 7)), ("u", ({"a": 1}, "OK", STREAMING, 7))]


def test_areceive_returns_none_when_idle(transport):
    assert asyncio.run(transport.areceive(1, 0.01)) is None


@pytest.mark.parametrize("arguments", [{}, {"send_sentinel": False}])
def test_close_ends_areceive(transport, arguments):
    async def main():
        waiting = asyncio.create_task(transport.areceive(0))
        await asyncio.sleep(0.01)
        transport.close(**arguments)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(asyncio.CancelledError):
            await transport.areceive(0)

    asyncio.run(main())
    transport.send(("u", ("too late", "OK", REGULAR, 0)), 0)


def test_what_cannot_be_sent_is_an_error_of_its_request(transport):
    for data in (threading.Lock(), "x" * (2 << 20)):
        transport.send(("u", (data, "OK", REGULAR, 0)), 0)
        [(uid, (error, status, kind, _))] = receive(transport)
        assert (uid, status, kind, error.status_code) == ("u", "ERROR", REGULAR, 500)
        assert "cannot be sent" in error.detail


class Unreadable:
    def __reduce__(self):
        return int, ("no number",)


def test_what_cannot_be_read_is_an_error_of_its_request(transport):
    transport.send(("u", (Unreadable(), "OK", REGULAR, 0)), 0)
    [(uid, (error, status, _, _))] = receive(transport)
    assert (uid, status, error.status_code) == ("u", "ERROR", 500)


def test_queue(requests):
    with pytest.raises(queue.Empty):
        requests.get(timeout=0.01)
    with pytest.raises(queue.Empty):
        requests.get(block=False)
    for _ in range(2):
        with pytest.raises(queue.Empty):
            requests.get_nowait()

    async def main():
        requests.put((0, "a", 1.5, {"x": 1}))
        requests.put_nowait((1, "b", 2.5, None))

    asyncio.run(main())
    assert requests.qsize() == 2
    assert requests.get() == (0, "a", 1.5, {"x": 1})
    assert requests.get_nowait() == (1, "b", 2.5, None)


def test_a_full_queue_refuses(requests):
    async def main():
        for number in range(10):
            requests.put((0, str(number), 0.0, b"x" * 50_000))
        with pytest.raises(HTTPException) as refused:
            requests.put((0, "large", 0.0, b"x" * 700_000))
        assert refused.value.status_code == 503

    asyncio.run(main())
    assert requests.qsize() == 10


def test_answers_come_to_the_event_loop_that_asked(transport, requests):
    """Threads all give the number of the last one."""

    def server(consumer):
        async def main():
            listening = asyncio.create_task(transport.areceive(consumer))
            await asyncio.sleep(0)
            requests.put((1, f"of {consumer}", 0.0, None))
            return await listening

        return asyncio.run(main())

    with ThreadPoolExecutor(2) as servers:
        answers = [servers.submit(server, consumer) for consumer in range(2)]
        for _ in range(2):
            consumer, uid, *_ = requests.get()
            transport.send((uid, (None, "OK", STREAMING, 0)), consumer)
        assert [answer.result(30)[0] for answer in answers] == ["of 0", "of 1"]


@pytest.mark.parametrize("said", [True, False])
def test_who_died_with_a_request_is_answered_for(transport, requests, said):
    worker = SPAWN.Process(target=take_and_die, args=(requests, said))
    worker.start()

    async def main():
        listening = asyncio.create_task(transport.areceive(0))
        await asyncio.sleep(0)
        requests.put((0, "u", 0.0, None))
        async with asyncio.timeout(30):
            return await listening

    uid, (error, status, kind, _) = asyncio.run(main())
    assert (uid, status, kind, error.status_code) == ("u", "ERROR", STREAMING, 500)
    assert f"pid {worker.pid}" in error.detail
    worker.join()


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A LitServe server of tests/litserve_app.py in a process group of its own."""

    def __init__(self, folder, servers, kind):
        self.log = folder / "log.txt"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        with self.log.open("w") as log:
            command = [sys.executable, APP, str(port), str(servers), kind]
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
    made = Server(tmp_path_factory.mktemp("processes"), 2, "process")
    yield made
    made.kill()


@pytest.fixture
def background():
    with ThreadPoolExecutor(16) as pool:
        yield pool.submit


def test_many_requests(server, background):
    answers = [background(server.post, "/plain", {}) for _ in range(200)]
    pids = {answer.result().raise_for_status().json()["output"] for answer in answers}
    assert len(pids) == 2  # workers


def test_batches(server, background):
    """One that cannot be sent does not fail the others of its batch."""
    bodies = [{"unsendable": 1} if number % 4 == 0 else {} for number in range(16)]
    answers = [background(server.post, "/batched", body) for body in bodies]
    assert [answer.result().status_code for answer in answers] == [500, 200, 200, 200] * 4


def test_streams(server, background):
    expected = "".join(f"{number} " for number in range(500)) + "pid "
    for answer in [background(server.post, "/streamed", {"tokens": 500}) for _ in range(8)]:
        assert answer.result().text.rstrip("0123456789") == expected


def test_a_stream_comes_as_it_is_made(server):
    with server.client.stream("POST", "/streamed", json={"sleep": 1, "tokens": 1}) as response:
        chunks = response.iter_bytes()
        before = time.monotonic()
        assert next(chunks) == b"0 "
        assert next(chunks).startswith(b"pid ")
        assert time.monotonic() - before > 0.5


@pytest.mark.parametrize("body", [{"unsendable": 1}, {"large": 3 << 20}])
def test_an_unsendable_result_fails_its_request_only(server, background, body):
    others = [background(server.post, "/plain", {}) for _ in range(10)]
    pids = {server.post("/plain", {}).json()["output"] for _ in range(10)}
    failed = server.post("/plain", body)
    assert failed.status_code == 500
    assert "cannot be sent" in failed.json()["detail"]
    assert all(other.result().is_success for other in others)
    assert {server.post("/plain", {}).json()["output"] for _ in range(10)} | pids == pids  # nobody was replaced


@pytest.mark.parametrize("how", ["exit", "kill"])
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
    server = Server(tmp_path, 2, "thread")
    try:
        server.post("/plain", {})
        times = []
        for _ in range(40):
            # Each on a connection of its own, so that both threads get some.
            before = time.monotonic()
            with offgil.Client(base_url=server.url) as client:
                assert client.post("/plain", json={}).is_success
            times.append(time.monotonic() - before)
        assert sorted(times)[len(times) // 2] < 0.05
        assert server.post("/plain", {"die": "exit"}).status_code == 500
        assert server.post("/plain", {}).is_success
    finally:
        server.kill()
