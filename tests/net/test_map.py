"""Many requests from one thread."""

import itertools
import threading

import pytest

import offgil
from offgil import Request


def test_ordered_answers_follow_the_requests(echo):
    with offgil.Client(base_url=echo.url) as client:
        requests = [Request("POST", "/", content=str(i)) for i in range(300)]
        outcomes = list(client.map(requests, concurrency=16))
        assert [int(outcome.json()["body"]) for outcome in outcomes] == list(range(300))
        assert [outcome.request for outcome in outcomes] == requests


def test_completed_answers_know_their_requests(serve):
    slow_may_go = threading.Event()

    def script(peer, _):
        while request := peer.read_request():
            if b"/slow" in request:
                slow_may_go.wait()
            peer.answer(request.split()[1])

    server = serve(script)
    with offgil.Client(base_url=server.url) as client:
        outcomes = client.map(["/slow", "/a", "/b"], concurrency=3, ordered=False)
        first = [next(outcomes), next(outcomes)]
        assert {outcome.request.url for outcome in first} == {"/a", "/b"}
        slow_may_go.set()
        assert next(outcomes).text == "/slow"
        assert next(outcomes, None) is None


@pytest.mark.parametrize("ordered", [True, False])
def test_a_failure_is_an_outcome_of_its_own(serve, ordered):
    def script(peer, _):
        while request := peer.read_request():
            if b"/drop" in request:
                return
            peer.answer()

    server = serve(script)
    bad_header = Request("GET", "/", headers={"X": "\n"})
    with offgil.Client(base_url=server.url) as client:
        requests = ["/a", "ftp://x/", Request("POST", "/drop"), bad_header, "http://[/", "/b"]
        outcomes = list(client.map(requests, concurrency=2, ordered=ordered))
    kinds = [type(outcome).__name__ for outcome in outcomes]
    wanted = [
        "Response",
        "UnsupportedProtocol",
        "RemoteProtocolError",
        "LocalProtocolError",
        "InvalidURL",
        "Response",
    ]
    assert (kinds if ordered else sorted(kinds)) == (wanted if ordered else sorted(wanted))
    failed = next(outcome for outcome in outcomes if isinstance(outcome, offgil.LocalProtocolError))
    assert failed.request is bad_header


def test_requests_are_read_as_answers_are_consumed(echo):
    taken = itertools.count()
    with offgil.Client(base_url=echo.url) as client:
        outcomes = client.map((f"/{next(taken)}" for _ in itertools.count()), concurrency=4)
        for i in range(20):
            assert next(outcomes).json()["target"] == f"/{i}"
        outcomes.close()
    assert next(taken) <= 20 + 2 * 4


def test_concurrency_is_a_bound(serve):
    lock = threading.Lock()
    running, most = 0, 0

    def script(peer, _):
        nonlocal running, most
        while peer.read_request():
            with lock:
                running += 1
                most = max(most, running)
            threading.Event().wait(0.01)
            with lock:
                running -= 1
            peer.answer()

    with offgil.Client(base_url=serve(script).url) as client:
        assert sum(1 for _ in client.map(["/"] * 60, concurrency=5)) == 60
    assert 1 < most <= 5


def test_nothing_to_do():
    with offgil.Client() as client:
        assert list(client.map([])) == []
        with pytest.raises(ValueError, match="at least 1"):
            client.map([], concurrency=0)


def test_time_limits_hold_for_each_transfer(serve):
    def script(peer, _):
        while request := peer.read_request():
            if b"/stall" in request:
                peer.stall()
                return
            peer.answer()

    with offgil.Client(base_url=serve(script).url, timeout=0.2) as client:
        outcomes = list(client.map(["/stall", "/a", "/stall", "/b"], concurrency=4))
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "ReadTimeout",
        "Response",
        "ReadTimeout",
        "Response",
    ]


def test_close_from_another_thread_ends_a_map(serve):
    entered = threading.Event()

    def script(peer, _):
        peer.read_request()
        entered.set()
        peer.stall()

    client = offgil.Client(base_url=serve(script).url)

    def close_it():
        entered.wait()
        client.close()

    closer = threading.Thread(target=close_it)
    closer.start()
    with pytest.raises(offgil.Closed):
        list(client.map(["/"]))
    closer.join()


def test_a_batch_belongs_to_one_thread_at_a_time(serve):
    entered = threading.Event()

    def script(peer, _):
        peer.read_request()
        entered.set()
        peer.stall()

    client = offgil.Client(base_url=serve(script).url)
    batch = client.batch(2)
    batch.add(Request("GET", "/"))
    outcomes = []

    def wait():
        try:
            batch.wait()
        except offgil.Closed as error:
            outcomes.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    entered.wait()
    with pytest.raises(RuntimeError, match="one thread at a time"):
        batch.add(Request("GET", "/"))
    client.close()
    thread.join()
    assert len(outcomes) == 1


@pytest.mark.parametrize(
    "policy", [{}, {"follow_redirects": True}, {"retry": offgil.Retry()}, {"hooks": [offgil.Hook()]}]
)
@pytest.mark.parametrize("url", ["http://[::1/", "http://127.0.0.1:99999/"])
def test_what_only_libcurl_knows_to_be_no_url_is_an_outcome(policy, url):
    with offgil.Client(**policy) as client:
        [outcome] = client.map([url])
        assert isinstance(outcome, offgil.InvalidURL)
        assert outcome.request.url == url
