"""Requests over a Unix socket."""

import socket
import threading
import time

import pytest

import offgil
from socket_servers import ScenarioServer

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this platform has no Unix sockets")


@pytest.fixture
def serve_unix(tmp_path):
    """Start a server that runs ``script(peer, number)`` for each connection; its path is in ``url``."""
    servers = []

    def start(script):
        path = tmp_path / f"socket {len(servers)}"
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        servers.append(ScenarioServer(script, listener))
        servers[-1].url = str(path)
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def echo(peer, _):
    while request := peer.read_request():
        peer.answer(request)


def test_every_request_goes_there(serve_unix):
    server = serve_unix(echo)
    with offgil.Client(uds=server.url, base_url="http://name:8080/v1") as client:
        answer = client.get("/x")
        assert answer.content.startswith(b"GET /v1/x HTTP/1.1\r\nHost: name:8080\r\n")
        assert answer.url == "http://name:8080/v1/x"
        assert client.post("/x", content=b"body").content.endswith(b"\r\n\r\nbody")
        assert server.connections == 1
        assert [outcome.status_code for outcome in client.map(["/x"] * 9, concurrency=3)] == [200] * 9
        assert server.connections <= 4


def test_the_environment_s_proxy_is_for_other_ways(serve_unix, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with offgil.Client(uds=serve_unix(echo).url) as client:
        assert client.get("http://name/").status_code == 200


def test_a_kept_connection_that_ended(serve_unix):
    def script(peer, _):
        peer.read_request()
        peer.answer()

    server = serve_unix(script)
    with offgil.Client(uds=server.url) as client:
        for _ in range(3):
            assert client.post("http://name/").content == b"ok"
            for thread in server.threads:
                thread.join()
    assert server.connections == 3


def test_nobody_listens(tmp_path):
    path = tmp_path / "nothing"
    with offgil.Client(uds=path) as client, pytest.raises(offgil.ConnectError, match=f"the Unix socket {path}: "):
        client.get("http://name/")


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 108])
def test_a_path_that_cannot_be(path):
    with pytest.raises(ValueError, match="uds="):
        offgil.Client(uds=path)


def test_threads_share_a_socket(serve_unix, barrier_threads):
    def script(peer, _):
        while peer.read_request():
            time.sleep(0.01)
            peer.answer(str(threading.get_ident()).encode())

    with offgil.Client(uds=serve_unix(script).url) as client:

        def work(_):
            return [client.post("http://name/").status_code for _ in range(20)]

        assert barrier_threads(8, work) == [[200] * 20] * 8
