"""Suites that hold for both clients run with each; and a server that keeps what it is sent."""

import pytest

import offgil
from blocking_async import BlockingAsyncClient

BOTH = {
    "test_auth",
    "test_cookies",
    "test_download",
    "test_hooks",
    "test_hostile",
    "test_http2",
    "test_map",
    "test_proxies",
    "test_redirects",
    "test_requests",
    "test_stream",
    "test_tls",
    "test_unix_socket",
}

# Of those: a Batch; a close() that a running event loop would have to make; and a map that has connections of its own.
BLOCKING_ONLY = {
    "test_a_batch_belongs_to_one_thread_at_a_time",
    "test_close_from_another_thread_ends_a_map",
    "test_a_certificate_of_the_client",
    "test_a_tunnel_shows_the_server_nothing_of_the_proxy",
    "test_plain_requests_are_passed_on",
}


def pytest_generate_tests(metafunc):
    both = metafunc.module.__name__.rpartition(".")[2] in BOTH
    if both and metafunc.function.__name__ not in BLOCKING_ONLY:
        metafunc.parametrize("client_class", ["Client", "AsyncClient"], indirect=True)


@pytest.fixture(autouse=True)
def client_class(request, monkeypatch):
    """What ``offgil.Client`` is for the test; the asyncio client wears its face."""
    if getattr(request, "param", "Client") == "AsyncClient":
        monkeypatch.setattr(offgil, "Client", BlockingAsyncClient)
    yield
    # A cycle through an exception may keep one alive, and the collector would take its event loop apart first.
    for client in list(BlockingAsyncClient.alive):
        client.stop()


class Recorder:
    """Answers every request, and keeps what came; the first to ``/busy`` is to come again, ``/old`` has moved."""

    def __init__(self):
        self.requests = []

    def __call__(self, peer, _):
        while request := peer.read_request():
            head, _, body = request.partition(b"\r\n\r\n")
            self.requests.append((head.lower(), body))
            if b" /busy " in head and len(self.requests) == 1:
                peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
            elif b" /old " in head:
                peer.send(b"HTTP/1.1 307 Moved\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n")
            else:
                peer.answer()

    @property
    def bodies(self):
        return [body for _, body in self.requests]


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
def url(serve, recorder):
    return serve(recorder).url
