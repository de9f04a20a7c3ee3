"""Hooks see every attempt, and each one's end."""

import threading

import pytest

import offgil
from offgil import CancelToken, Client, Hook, Request, Retry
from site_pages import page, redirect, visit

FAST = Retry(attempts=3, backoff=0, jitter=0)


class Log(Hook):
    def __init__(self):
        self.lines = []

    def on_request(self, attempt):
        self.lines.append(f"{attempt.method} {attempt.url.rpartition('/')[2]} {attempt.number}/{attempt.redirects}")
        attempt.notes[self] = len(self.lines)

    def on_response(self, attempt, response):
        assert attempt.notes[self]
        self.lines.append(str(response.status_code))

    def on_error(self, attempt, error):
        assert attempt.notes[self]
        self.lines.append(type(error).__name__)


def by_request(client, url):
    return client.get(url)


def by_map(client, url):
    [outcome] = client.map([url])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@pytest.fixture(params=[by_request, by_map])
def fetch(request):
    return request.param


def test_retries_and_redirects_are_attempts(serve, fetch):
    answers = iter([page(status=503), redirect("/next"), page(status=500), page()])
    url, _ = visit(serve, lambda asked: next(answers))
    log = Log()
    with Client(hooks=[log], retry=FAST, follow_redirects=True) as client:
        assert fetch(client, f"{url}/first").status_code == 200
        assert client.stats().retries == 2
    assert log.lines == ["GET first 1/0", "503", "GET first 2/0", "302", "GET next 1/1", "500", "GET next 2/1", "200"]


def test_an_error_is_told(serve, fetch):
    def script(peer, _):
        peer.read_request()

    server = serve(script)
    log = Log()
    with Client(hooks=[log]) as client, pytest.raises(offgil.RemoteProtocolError):
        fetch(client, f"{server.url}/x")
    assert log.lines == ["GET x 1/0", "RemoteProtocolError"]


def test_a_header_that_cannot_be_sent_is_an_error_of_its_attempt(serve, fetch):
    url, site = visit(serve, lambda asked: page())

    class Spoils(Log):
        def on_request(self, attempt):
            super().on_request(attempt)
            attempt.headers.append(("X-Bad", "a\r\nb"))

    hook = Spoils()
    with Client(hooks=[hook]) as client, pytest.raises(offgil.LocalProtocolError):
        fetch(client, f"{url}/x")
    assert hook.lines == ["GET x 1/0", "LocalProtocolError"]
    assert site.asked == []


def test_a_hook_adds_headers_and_sees_no_password(serve, fetch):
    url, site = visit(serve, lambda asked: page())

    class Adds(Log):
        def on_request(self, attempt):
            assert "pw" not in attempt.url
            attempt.headers.append(("X-Trace", "42"))

        def on_response(self, attempt, response):
            pass

    with Client(hooks=[Adds()]) as client:
        fetch(client, url.replace("://", "://me:pw@"))
    assert site.asked[0].headers["x-trace"] == "42"
    assert site.asked[0].headers["authorization"].startswith("Basic ")


def test_streams_tell_of_their_head(serve):
    url, _ = visit(serve, lambda asked: page() if asked.target == "/b" else redirect("/b"))
    log = Log()
    with Client(hooks=[log], follow_redirects=True) as client, client.stream("GET", f"{url}/a") as response:
        assert [step.status_code for step in response.history] == [302]
        assert log.lines == ["GET a 1/0", "302", "GET b 1/1", "200"]
        assert response.read() == b"ok"


def test_what_a_hook_raises_ends_the_call(serve, fetch):
    url, _ = visit(serve, lambda asked: page())

    class Raises(Hook):
        def on_response(self, attempt, response):
            raise LookupError("from the hook")

    with Client(hooks=[Raises()]) as client, pytest.raises(LookupError, match="from the hook"):
        fetch(client, url)


def test_a_batch_loses_nothing_to_a_hook_that_raises(serve):
    url, _ = visit(serve, lambda asked: page(asked.target.encode()))

    class RaisesOnce(Hook):
        def on_response(self, attempt, response):
            if attempt.url.endswith("/3"):
                raise LookupError("from the hook")

    with Client(hooks=[RaisesOnce()]) as client, client.batch(8) as batch:
        for number in range(8):
            batch.add(Request("GET", f"{url}/{number}"), number)
        seen, raised = set(), 0
        while batch.in_flight:
            try:
                seen.update(tag for tag, _ in batch.wait())
            except LookupError:
                raised += 1
        assert raised == 1
        assert seen == set(range(8)) - {3}


def test_a_dropped_batch_ends_its_attempts(serve):
    asked = threading.Semaphore(0)

    def script(peer, _):
        peer.read_request()
        asked.release()
        peer.stall()

    server = serve(script)
    log = Log()
    with Client(hooks=[log]) as client, client.batch(1) as batch:
        batch.add(Request("GET", f"{server.url}/x"))
        while not asked.acquire(blocking=False):
            batch.wait(0.01)
    assert log.lines == ["GET x 1/0", "Cancelled"]


def test_retries_in_map_pause_and_count(serve):
    failures = {}
    lock = threading.Lock()

    def answer(asked):
        with lock:
            failures[asked.target] = failures.get(asked.target, 0) + 1
            return page(asked.target.encode()) if failures[asked.target] == 3 else page(status=503)

    url, _ = visit(serve, answer)
    with Client(base_url=url, retry=Retry(attempts=3, backoff=0.01)) as client:
        outcomes = list(client.map([f"/{n}" for n in range(50)], concurrency=10))
        assert [outcome.text for outcome in outcomes] == [f"/{n}" for n in range(50)]
        assert client.stats().retries == 100
        assert {outcome.request.url for outcome in outcomes} == {f"/{n}" for n in range(50)}


def test_a_retry_in_map_leaves_posts_alone(serve):
    url, site = visit(serve, lambda asked: page(status=503))
    with Client(retry=FAST) as client:
        [outcome] = client.map([Request("POST", url, content=b"x")])
        assert outcome.status_code == 503
    assert len(site.asked) == 1


def test_a_token_ends_a_pause_in_map(serve):
    paused = threading.Event()

    def answer(asked):
        paused.set()
        return page(status=503)

    url, _ = visit(serve, answer)
    token = CancelToken()
    with Client(retry=Retry(backoff=100, jitter=0)) as client:

        def cancel():
            paused.wait()
            token.cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        [outcome] = client.map([Request("GET", url, cancel=token)])
        canceller.join()
        assert isinstance(outcome, offgil.Cancelled)


def test_the_deadline_covers_pauses_in_map(serve):
    url, site = visit(serve, lambda asked: page(status=503))
    with Client(retry=Retry(backoff=60, jitter=0), deadline=5) as client:
        [outcome] = client.map([url])
        assert outcome.status_code == 503
    assert len(site.asked) == 1
