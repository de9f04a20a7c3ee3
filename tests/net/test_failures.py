"""Each failure has its own type, and the client goes on working."""

import os
import socket
import threading
import time

import pytest

import offgil


def read_timeout_server(peer, number):
    peer.read_request()
    peer.stall()


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with offgil.Client() as client, pytest.raises(offgil.ConnectError, match=f"GET http://127.0.0.1:{port}/"):
        client.get(f"http://127.0.0.1:{port}/")


def test_unknown_host():
    with offgil.Client() as client, pytest.raises(offgil.ConnectError):
        client.get("http://nobody.invalid/")


def test_read_timeout(serve):
    server = serve(read_timeout_server)
    with offgil.Client(timeout=offgil.Timeout(read=0.1)) as client:
        with pytest.raises(offgil.ReadTimeout):
            client.get(server.url)
        with pytest.raises(offgil.ReadTimeout):
            client.post(server.url, content=b"x", timeout=0.05)


def test_read_timeout_is_about_inactivity(serve):
    def script(peer, _):
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            time.sleep(0.1)
            peer.send(b"x")

    with offgil.Client(timeout=offgil.Timeout(read=0.5)) as client:
        assert client.get(serve(script).url).content == b"x" * 8


def test_write_timeout(serve):
    def script(peer, _):
        peer.stall()

    with offgil.Client(timeout=offgil.Timeout(write=0.2)) as client, pytest.raises(offgil.WriteTimeout):
        client.post(serve(script).url, content=b"x" * 50_000_000)


def test_connect_timeout():
    # A full accept queue: the kernel drops further SYNs, so that the connection stays half open.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(8)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            with (
                offgil.Client(timeout=offgil.Timeout(connect=0.2)) as client,
                pytest.raises(offgil.ConnectTimeout),
            ):
                client.get(f"http://127.0.0.1:{address[1]}/")
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize("timeout", [-1, float("nan"), offgil.Timeout])
def test_bad_timeouts_are_refused(echo, timeout):
    with offgil.Client() as client, pytest.raises((ValueError, TypeError)):
        client.get(echo.url, timeout=timeout)
    assert echo.requests == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Len",
    ],
    ids=["nothing", "garbage", "truncated body", "truncated head"],
)
def test_broken_answers(serve, answer):
    def script(peer, number):
        peer.read_request()
        if number == 0:
            peer.send(answer)
        else:
            peer.answer()

    server = serve(script)
    with offgil.Client() as client:
        with pytest.raises((offgil.RemoteProtocolError, offgil.ReadError)):
            client.post(server.url)
        assert client.post(server.url).content == b"ok"


def test_bad_gzip_is_a_decoding_error(serve):
    def script(peer, _):
        peer.read_request()
        peer.answer(b"not gzip at all", head=b"Content-Encoding: gzip\r\n")

    with offgil.Client() as client, pytest.raises(offgil.DecodingError):
        client.get(serve(script).url)


class DropsSecondRequest:
    """Answers the first request of a connection and closes it upon the second, having read it."""

    def __init__(self):
        self.seen = []

    def __call__(self, peer, number):
        self.seen.append(peer.read_request())
        peer.answer()
        if number == 0:
            self.seen.append(peer.read_request())
            return
        while request := peer.read_request():
            self.seen.append(request)
            peer.answer()


def test_a_post_is_never_sent_twice(serve):
    script = DropsSecondRequest()
    server = serve(script)
    with offgil.Client() as client:
        client.get(server.url)
        with pytest.raises(offgil.RemoteProtocolError, match="not sent again"):
            client.post(server.url + "/charge", content=b"money")
        client.get(server.url)
    assert sum(request.startswith(b"POST") for request in script.seen) == 1


def test_a_post_without_body_is_never_sent_twice(serve):
    script = DropsSecondRequest()
    server = serve(script)
    with offgil.Client() as client:
        client.get(server.url)
        with pytest.raises(offgil.RemoteProtocolError):
            client.post(server.url + "/charge")
    assert sum(request.startswith(b"POST") for request in script.seen) == 1


def test_a_get_may_be_sent_twice(serve):
    script = DropsSecondRequest()
    server = serve(script)
    with offgil.Client() as client:
        client.get(server.url)
        assert client.get(server.url).content == b"ok"
    assert server.connections == 2


def test_connections_are_kept(echo):
    with offgil.Client() as client:
        for _ in range(10):
            client.get(echo.url)
    assert len(echo.ports) == 1


def test_a_closed_client_refuses(echo):
    client = offgil.Client()
    client.close()
    client.close()
    with pytest.raises(offgil.Closed):
        client.get(echo.url)
    with pytest.raises(offgil.Closed):
        list(client.map([echo.url]))
    assert echo.requests == 0


def test_close_wakes_calls_in_other_threads(serve):
    entered = threading.Semaphore(0)

    def script(peer, _):
        peer.read_request()
        entered.release()
        peer.stall()

    server = serve(script)
    client = offgil.Client()
    outcomes = []

    def call():
        try:
            client.get(server.url)
        except offgil.Closed as error:
            outcomes.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in threads:
        entered.acquire()
    client.close()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4


def test_a_forked_child_uses_its_own_connection(echo):
    client = offgil.Client()
    parents = client.get(echo.url).json()["port"]
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            port = client.get(echo.url).json()["port"]
            os.write(writing, str(port).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        childs = int(pipe.read())
    assert os.waitpid(pid, 0)[1] == 0
    assert childs != parents
    assert client.get(echo.url).json()["port"] == parents
    client.close()
