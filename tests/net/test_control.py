"""Limits, cancelling, retries and counters: what a caller has in hand while requests run."""

import os
import pickle
import subprocess
import sys
import threading
import time

import pytest

import offgil
from offgil import CancelToken, Client, Request, Retry, Timeout


class Stalls:
    """Answers every path but /stall, and tells when a request for that one has come."""

    def __init__(self):
        self.stalled = threading.Semaphore(0)

    def __call__(self, peer, _):
        while request := peer.read_request():
            if b"/stall" in request:
                self.stalled.release()
                peer.stall()
                return
            peer.answer()


def until_cancelled(client, token):
    """Hold a connection, on a thread of its own, until the token is cancelled."""

    def hold():
        with pytest.raises(offgil.Cancelled):
            client.get("/stall", cancel=token)

    holder = threading.Thread(target=hold)
    holder.start()
    return holder


def test_the_deadline_bounds_a_body_that_keeps_coming(serve):
    def script(peer, _):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not peer.stop.wait(0.01):
            peer.send(b"x")

    server = serve(script)
    with Client(deadline=0.2) as client:
        with pytest.raises(offgil.DeadlineExceeded):
            client.get(server.url)
        started = time.monotonic()
        with pytest.raises(offgil.DeadlineExceeded):
            client.get(server.url, deadline=0.05)
        assert time.monotonic() - started < 5
        [outcome] = client.map([server.url])
        assert isinstance(outcome, offgil.DeadlineExceeded)


@pytest.mark.parametrize("limit", [0, 1e-9, 1e-5])
def test_limits_far_below_a_millisecond(serve, limit):
    server = serve(Stalls())
    with Client() as client, pytest.raises(offgil.TimeoutException):
        client.get(server.url + "/stall", deadline=limit)
    with Client(timeout=Timeout(read=limit)) as client, pytest.raises(offgil.ReadTimeout):
        client.get(server.url + "/stall")


@pytest.mark.parametrize("arguments", [{"deadline": -1}, {"max_connections": 0}, {"max_keepalive": -1}])
def test_bad_bounds_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Client(**arguments)


def test_max_connections_makes_others_wait_and_lets_them_go_on(serve):
    script = Stalls()
    server = serve(script)
    token = CancelToken()
    with Client(base_url=server.url, max_connections=1, timeout=Timeout(pool=None)) as client:
        holder = until_cancelled(client, token)
        script.stalled.acquire()
        with pytest.raises(offgil.PoolTimeout, match="max_connections"):
            client.get("/", timeout=Timeout(pool=0.02))
        with pytest.raises(offgil.DeadlineExceeded):
            client.get("/", deadline=0.02)
        outcomes = []
        waiters = [threading.Thread(target=lambda: outcomes.append(client.get("/").content)) for _ in range(4)]
        for waiter in waiters:
            waiter.start()
        token.cancel()
        for waiter in waiters:
            waiter.join()
        holder.join()
        assert outcomes == [b"ok"] * 4


def test_idle_connections_count_and_make_room(serve, echo):
    def script(peer, _):
        while peer.read_request():
            peer.answer()

    other = serve(script)
    with Client(max_connections=1) as client:
        for _ in range(3):
            client.get(echo.url)
            client.get(other.url)
        assert client.stats().connections_opened == 6
    with Client(max_keepalive=0) as client:
        client.get(echo.url)
        client.get(echo.url)
        assert client.stats().connections_opened == 2


def test_a_token_ends_calls_waiters_and_batches(serve):
    script = Stalls()
    server = serve(script)
    token = CancelToken()
    ended = []
    with Client(base_url=server.url, max_connections=1) as client:

        def call():
            with pytest.raises(offgil.Cancelled, match=r"GET .*/stall: cancelled"):
                client.get("/stall", cancel=token)
            ended.append("call")

        def mapped():
            outcomes = list(client.map([Request("GET", "/stall", cancel=token), "/"], concurrency=2))
            ended.append([type(outcome) for outcome in outcomes])

        threads = [threading.Thread(target=target) for target in (call, call, mapped)]
        for thread in threads:
            thread.start()
        script.stalled.acquire()
        script.stalled.acquire()
        assert not token.cancelled
        token.cancel()
        token.cancel()
        for thread in threads:
            thread.join()
        assert token.cancelled
        ended.remove([offgil.Cancelled, offgil.Response])
        assert ended == ["call", "call"]
        with pytest.raises(offgil.Cancelled):
            client.get("/", cancel=token)
        assert client.get("/").content == b"ok"


def test_close_wakes_who_waits_for_a_connection(serve):
    script = Stalls()
    client = Client(base_url=serve(script).url, max_connections=1)
    ended = []

    def call():
        with pytest.raises(offgil.Closed):
            client.get("/stall")
        ended.append(1)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    script.stalled.acquire()
    client.close()
    for thread in threads:
        thread.join()
    assert len(ended) == 3


class Fails:
    """Fails so often, in the way that ``fail`` says, before it answers."""

    def __init__(self, times, fail):
        self.times = times
        self.fail = fail
        self.seen = []

    def __call__(self, peer, _):
        while request := peer.read_request():
            self.seen.append(request.split()[0])
            if len(self.seen) > self.times:
                peer.answer()
            elif not self.fail:
                return
            else:
                peer.send(self.fail)


BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
QUICK = Retry(attempts=4, backoff=0.001)


@pytest.mark.parametrize("fail", [BUSY, b""], ids=["status", "closed connection"])
def test_retries(serve, fail):
    script = Fails(2, fail)
    with Client(base_url=serve(script).url, retry=QUICK) as client:
        assert client.get("/").content == b"ok"
        assert client.stats().retries == 2
    assert len(script.seen) == 3


def test_retries_end(serve):
    script = Fails(100, BUSY)
    with Client(base_url=serve(script).url, retry=QUICK) as client:
        assert client.get("/").status_code == 503
        assert len(script.seen) == 4
    with Client(retry=QUICK) as client, pytest.raises(offgil.ConnectError):
        client.get("http://127.0.0.1:1/")


def test_a_post_is_retried_only_where_allowed(serve):
    script = Fails(1, BUSY)
    server = serve(script)
    with Client(base_url=server.url, retry=QUICK) as client:
        assert client.post("/").status_code == 503
    script.seen.clear()
    allowed = Retry(attempts=4, backoff=0.001, methods=QUICK.methods | {"POST"})
    with Client(base_url=server.url, retry=allowed) as client:
        assert client.post("/").status_code == 200


def test_retry_after_is_a_lower_bound_within_the_deadline(serve):
    busy = b"HTTP/1.1 429 Slow\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n"
    script = Fails(100, busy)
    with Client(base_url=serve(script).url, retry=QUICK, deadline=5) as client:
        assert client.get("/").status_code == 429
    assert len(script.seen) == 1


@pytest.mark.parametrize("end", ["close", "cancel"])
def test_a_pause_between_attempts_can_be_ended(serve, end):
    script = Fails(100, BUSY)
    client = Client(base_url=serve(script).url, retry=Retry(attempts=2, backoff=60, jitter=0))
    token = CancelToken()
    errors = []

    def call():
        try:
            client.get("/", cancel=token)
        except (offgil.Closed, offgil.Cancelled) as error:
            errors.append(type(error))

    thread = threading.Thread(target=call)
    thread.start()
    while not script.seen:
        time.sleep(0.001)
    time.sleep(0.05)
    client.close() if end == "close" else token.cancel()
    thread.join()
    assert errors == [offgil.Closed if end == "close" else offgil.Cancelled]


def test_stats_and_timings(serve, echo):
    with Client() as client:
        first = client.post(echo.url, content=b"12345")
        second = client.get(echo.url)
        with pytest.raises(offgil.ConnectError):
            client.get("http://127.0.0.1:1/")
        list(client.map([echo.url] * 3, concurrency=1))
        stats = client.stats()
        assert (stats.requests, stats.errors, stats.in_flight, stats.retries) == (6, {"ConnectError": 1}, 0, 0)
        assert (stats.connections_opened, stats.connections_reused) == (2, 3)
        assert stats.bytes_sent == 5
        assert stats.bytes_received > len(first.content) + len(second.content)
    timings = first.timings
    assert 0 < timings.connect <= timings.first_byte <= timings.total
    assert timings.tls == 0
    assert timings.total == pytest.approx(first.elapsed.total_seconds(), abs=1e-6)
    assert second.timings.connect == 0


def test_a_client_pickles_as_its_configuration(echo):
    client = Client(base_url=echo.url, headers={"X-Me": "1"}, timeout=3, deadline=9, retry=QUICK, max_connections=2)
    client.get("/")
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).get('/').json()['headers'])"
    child = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(client), capture_output=True, timeout=60, check=True
    )
    assert b"['X-Me', '1']" in child.stdout
    assert len(echo.ports) == 2
    copy = pickle.loads(pickle.dumps(client))
    assert copy._configuration == client._configuration


def test_a_forked_child_waits_for_its_own_connections_only(serve):
    script = Stalls()
    token = CancelToken()
    client = Client(base_url=serve(script).url, max_connections=1)
    holder = until_cancelled(client, token)
    script.stalled.acquire()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if client.get("/", timeout=5).content == b"ok" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    token.cancel()
    holder.join()
    client.close()


def test_what_was_cancelled_before_is_not_sent(echo):
    token = CancelToken()
    token.cancel()
    with Client() as client, client.batch(1) as batch:
        client.get(echo.url)
        for _ in range(300):
            batch.add(Request("GET", echo.url, cancel=token))
            [(_, outcome)] = batch.wait()
            assert isinstance(outcome, offgil.Cancelled)
            with pytest.raises(offgil.Cancelled):
                client.get(echo.url, cancel=token)
    assert echo.requests == 1
