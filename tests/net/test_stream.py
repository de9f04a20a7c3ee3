"""Streamed answers: pieces as they come, whatever the framing, up to where they break off."""

import gzip
import os
import socket
import threading

import pytest

import offgil

HEAD = b"HTTP/1.1 200 OK\r\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def answering(*answers):
    """A script that gives these answers on each connection, one a request."""

    def script(peer, _):
        for answer in answers:
            if not peer.read_request():
                return
            peer.send(answer)

    return script


def test_head_and_body(echo):
    with (
        offgil.Client(base_url=echo.url, headers={"X-Default": "yes"}) as client,
        client.stream("POST", "/path", params={"q": 1}, json=[1], headers={"X-Own": "too"}) as response,
    ):
        assert response.status_code == 200
        assert response.reason_phrase == "OK"
        assert response.http_version == "HTTP/1.1"
        assert response.url == f"{echo.url}/path?q=1"
        assert response.headers.get_list("x-twice") == ["one", "two"]
        assert response.is_success
        assert response.raise_for_status() is response
        assert repr(response) == "<StreamResponse [200 OK]>"
        body = response.read()
        assert b'"body": "[1]"' in body
        assert b'["X-Default", "yes"]' in body
        assert b'["X-Own", "too"]' in body
        assert response.read() is body


def test_pieces_come_as_they_are_sent(serve):
    asked = threading.Semaphore(0)

    def script(peer, _):
        peer.read_request()
        peer.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            asked.acquire()
            peer.send(chunk(b"piece %d" % number))
        asked.acquire()
        peer.send(b"0\r\nX-Trailer: late\r\n\r\n")

    with offgil.Client() as client, client.stream("GET", serve(script).url) as response:
        pieces = response.iter_bytes()
        for number in range(5):
            asked.release()
            assert next(pieces) == b"piece %d" % number
        asked.release()
        assert next(pieces, None) is None
        assert next(pieces, None) is None
        assert "x-trailer" not in response.headers


@pytest.mark.parametrize(
    ("method", "answer", "body"),
    [
        ("GET", HEAD + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        ("GET", HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"hel") + chunk(b"lo") + b"0\r\n\r\n", b"hello"),
        ("GET", HEAD + b"Connection: close\r\n\r\nhello", b"hello"),
        ("GET", HEAD + b"Content-Length: 0\r\n\r\n", b""),
        ("HEAD", HEAD + b"Content-Length: 5\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", b""),
        ("GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + HEAD + b"Content-Length: 2\r\n\r\nok", b"ok"),
        ("GET", b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
    ],
    ids=["length", "chunked", "close", "empty", "HEAD", "204", "304", "1xx first", "HTTP/1.0"],
)
@pytest.mark.parametrize("byte_by_byte", [False, True], ids=["at once", "byte by byte"])
def test_framings(serve, method, answer, body, byte_by_byte):
    def script(peer, _):
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.read_request()
        for piece in [answer[i : i + 1] for i in range(len(answer))] if byte_by_byte else [answer]:
            peer.send(piece)

    with offgil.Client() as client, client.stream(method, serve(script).url) as response:
        assert response.status_code in {200, 204, 304}
        assert "link" not in response.headers
        assert b"".join(response.iter_bytes()) == body


def test_a_body_that_came_with_the_head_needs_no_connection_any_more(serve):
    server = serve(answering(HEAD + b"Content-Length: 5\r\n\r\nhello", HEAD + b"Content-Length: 2\r\n\r\nok"))
    with offgil.Client() as client:
        first = client.stream("GET", server.url)
        assert client.get(server.url).content == b"ok"
        assert server.connections == 1
        assert first.read() == b"hello"


def test_chunk_size(serve):
    body = bytes(range(256)) * 40
    server = serve(answering(*[HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body] * 2))
    with offgil.Client() as client:
        with client.stream("GET", server.url) as response:
            pieces = list(response.iter_bytes(1000))
        assert [len(piece) for piece in pieces] == [1000] * 10 + [240]
        assert b"".join(pieces) == body
        with client.stream("GET", server.url) as response, pytest.raises(ValueError, match="at least 1"):
            response.iter_bytes(0)


def test_encoded_bodies_are_decoded(serve):
    body = os.urandom(200_000)
    encoded = gzip.compress(body)
    server = serve(
        answering(HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(encoded), encoded))
    )
    with offgil.Client() as client, client.stream("GET", server.url) as response:
        assert b"".join(response.iter_bytes()) == body


def test_lines(serve):
    text = "eins\r\nzwei\rdrei\n\nfünf".encode("latin-1")
    server = serve(answering(HEAD + b"Content-Type: text/plain; charset=latin-1\r\nConnection: close\r\n\r\n" + text))
    with offgil.Client() as client, client.stream("GET", server.url) as response:
        assert list(response.iter_lines()) == ["eins", "zwei", "drei", "", "fünf"]


def test_events_come_at_once(serve):
    asked = threading.Semaphore(0)

    def script(peer, _):
        peer.read_request()
        peer.send(HEAD + b"Content-Type: text/event-stream\r\n\r\n")
        for number in range(3):
            asked.acquire()
            peer.send(b"id: %d\r\ndata: token\r\n\r\n" % number)
        peer.send(b"data: cut off")

    with offgil.Client() as client, client.stream("GET", serve(script).url) as response:
        events = response.iter_sse()
        for number in range(3):
            asked.release()
            assert next(events) == offgil.ServerSentEvent(data="token", id=str(number))
        assert list(events) == []


def test_an_error_answer_carries_its_body(serve):
    server = serve(answering(b"HTTP/1.1 429 Slow Down\r\nContent-Length: 9\r\n\r\nwait, ok?"))
    with offgil.Client() as client, client.stream("GET", server.url) as response:
        assert not response.is_success
        with pytest.raises(offgil.HTTPStatusError, match=r"client error 429 Slow Down .*wait, ok") as raised:
            response.raise_for_status()
        assert raised.value.response.read() == b"wait, ok?"


def test_the_body_comes_once(serve):
    server = serve(answering(*[HEAD + b"Content-Length: 5\r\n\r\nhello"] * 3))
    with offgil.Client() as client:
        with client.stream("GET", server.url) as response:
            assert list(response.iter_bytes()) == [b"hello"]
            for again in (response.iter_bytes, response.iter_lines, response.iter_sse):
                with pytest.raises(offgil.StreamConsumed, match="once"):
                    again()
            assert response.read() == b""
        with client.stream("GET", server.url) as response:
            assert response.read() == b"hello"
            with pytest.raises(offgil.StreamConsumed):
                response.iter_bytes()
        assert response.read() == b"hello"
        with client.stream("GET", server.url) as response:
            pass
        response.close()
        for _ in range(2):
            with pytest.raises(offgil.StreamClosed, match=f"GET {server.url}"):
                response.read()


def test_read_returns_the_rest(serve):
    asked = threading.Event()

    def script(peer, _):
        peer.read_request()
        peer.send(HEAD + b"Content-Length: 10\r\n\r\nfirst")
        asked.wait()
        peer.send(b"other")

    with offgil.Client() as client, client.stream("GET", serve(script).url) as response:
        assert next(response.iter_bytes()) == b"first"
        asked.set()
        assert response.read() == b"other"


@pytest.mark.parametrize(
    ("answer", "good", "error"),
    [
        (HEAD + b"Content-Length: 100\r\n\r\nshort", b"short", offgil.RemoteProtocolError),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"one"), b"one", offgil.RemoteProtocolError),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"one") + b"zz\r\n", b"one", offgil.RemoteProtocolError),
        (HEAD + b"Content-Encoding: gzip\r\n\r\nnot gzip", b"", offgil.DecodingError),
    ],
    ids=["length", "chunked", "bad chunk", "gzip"],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_broken_bodies(serve, answer, good, error, at_once):
    asked = threading.Event()

    def script(peer, number):
        peer.read_request()
        if number > 0:
            peer.answer()
            return
        head, blank, rest = answer.partition(b"\r\n\r\n")
        peer.send(head + blank + (rest if at_once else b""))
        if not at_once:
            asked.wait()
            peer.send(rest)

    server = serve(script)
    with offgil.Client() as client:
        with client.stream("GET", server.url) as response:
            asked.set()
            pieces = response.iter_bytes(2)
            received = []
            with pytest.raises(error, match=f"GET {server.url}"):
                received.extend(pieces)
            assert b"".join(received) == good
            with pytest.raises(error):
                next(pieces)
            with pytest.raises(error):
                response.read()
        assert client.get(server.url).content == b"ok"


def test_gzip_that_breaks_in_the_middle(serve):
    body = os.urandom(300_000)
    encoded = bytearray(gzip.compress(body, 1))
    encoded[-8] ^= 0xFF  # the checksum: everything before it decodes
    server = serve(answering(HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + encoded))
    with offgil.Client() as client, client.stream("GET", server.url) as response:
        received = []
        with pytest.raises(offgil.DecodingError):
            received.extend(response.iter_bytes())
        assert received
        assert body.startswith(b"".join(received))


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n", HEAD + b"Content-Len", b"HTTP/1.1 103 Hints\r\n\r\n"])
def test_without_a_head_the_call_fails(serve, answer):
    server = serve(answering(answer))
    with offgil.Client() as client, pytest.raises((offgil.RemoteProtocolError, offgil.ReadError)):
        client.stream("POST", server.url)


def test_bad_requests_are_refused(echo):
    with offgil.Client(base_url=echo.url) as client:
        with pytest.raises(offgil.LocalProtocolError):
            client.stream("GET", "/", headers={"a": "b\r\nc: d"})
        with pytest.raises(offgil.UnsupportedProtocol):
            client.stream("GET", "ftp://127.0.0.1/")
    with pytest.raises(offgil.Closed):
        client.stream("GET", "/")
    assert echo.requests == 0
