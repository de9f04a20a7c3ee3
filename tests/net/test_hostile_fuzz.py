"""Whatever bytes a server sends, the outcome is a response or a typed error, and the next request works."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import offgil

VALID = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Late: 1\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 404 Not Found\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n" + gzip.compress(b"hello" * 9, mtime=0),
]
# What a mutation inserts: bytes that mean something to HTTP, and bytes that mean nothing.
PIECES = st.sampled_from([b"\r\n", b"\n", b"\r", b"\0", b":", b" ", b",", b"HTTP/1.1 ", b"chunked", b"-1", b"f" * 20])


@st.composite
def mutated(draw):
    answer = bytearray(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(answer)))
        end = draw(st.integers(start, min(start + 8, len(answer))))
        answer[start:end] = draw(st.one_of(PIECES, st.binary(max_size=4), st.just(bytes(answer[: start // 2]))))
    return bytes(answer)


@pytest.mark.parametrize("many", [False, True])
def test_any_bytes(serve, many):
    answers = []

    def script(peer, _):
        while request := peer.read_request():
            if request.startswith(b"GET /next"):
                peer.answer()
                continue
            peer.send(answers[-1])
            return

    with offgil.Client(base_url=serve(script).url, timeout=20) as client:

        @settings(max_examples=200, deadline=None, derandomize=True, database=None)
        @given(st.one_of(mutated(), st.binary(max_size=200), st.binary(max_size=60).map(b"HTTP/1.1 200 ".__add__)))
        def check(answer):
            answers.append(answer)
            outcome = next(client.map(["/"])) if many else attempt(client)
            if isinstance(outcome, offgil.Response):
                assert 200 <= outcome.status_code <= 999
                assert outcome.headers is not None
                assert isinstance(outcome.text, str)
            else:
                assert isinstance(outcome, offgil.RequestError)
                # An answer that ended is never waited for.
                assert not isinstance(outcome, offgil.TimeoutException), answer
            assert client.get("/next").content == b"ok"

        check()


def attempt(client):
    try:
        return client.get("/")
    except offgil.RequestError as error:
        return error
