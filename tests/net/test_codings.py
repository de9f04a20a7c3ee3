"""Compressed bodies: what is asked for, and what is made of it."""

import gzip
import zlib

import pytest

import offgil
from offgil import _core

TEXT = b"".join(b"%d bottles of beer on the wall\n" % number for number in range(12))
# Made once, so that no package is needed to make them.
BROTLI = bytes.fromhex(
    "1b6901f88d94abe96a6e30362f69b88dfdce726fc15624948c01072081eab8cd7417d0022d2ab9003a193ddca074f07ec9bda8cbedf1faf8"
    "faf9374c01"
)
ZSTD = bytes.fromhex(
    "28b52ffd606a003d0200a4023020626f74746c6573206f662062656572206f6e207468652077616c6c0a3132333435363738393130310b00"
    "312b0a897523b819b805dc076e066e01f7819b815b1c6ee504"
)
NEEDS = {"br": "brotli", "zstd": "zstd", "gzip": "libz", "deflate": "libz"}
KNOWN = {coding for coding, feature in NEEDS.items() if feature in _core.libcurl_info().features}

BODIES = {
    "identity": TEXT,
    "gzip": gzip.compress(TEXT, mtime=0),
    "x-gzip": gzip.compress(TEXT, mtime=0),
    "GZIP": gzip.compress(TEXT, mtime=0),
    "deflate": zlib.compress(TEXT),
    "deflate without its header": zlib.compress(TEXT, wbits=-15),
    "br": BROTLI,
    "zstd": ZSTD,
    "deflate, gzip": gzip.compress(zlib.compress(TEXT), mtime=0),
}


def by_get(client, url):
    answer = client.get(url)
    return answer.headers, answer.content


def by_map(client, url):
    [answer] = client.map([url])
    return answer.headers, answer.content


def by_stream(client, url):
    with client.stream("GET", url) as answer:
        return answer.headers, answer.read()


@pytest.mark.parametrize("send", [by_get, by_map, by_stream])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("name", BODIES)
def test_a_coding(serve, name, chunked, send):
    coding, body = name.split(" without")[0], BODIES[name]
    if (needed := NEEDS.get(coding)) and coding not in KNOWN:
        pytest.skip(f"this libcurl was built without {needed}")

    def script(peer, _):
        while peer.read_request():
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %s\r\n" % coding.encode()
            if chunked:
                # Few bytes at a time, so that the decoder is left and come back to in many states.  (Not one: libcurl
                # finds out from the first two at once that deflate's header is missing.)
                pieces = b"".join(
                    b"%x\r\n%s\r\n" % (len(body[at : at + 2]), body[at : at + 2]) for at in range(0, len(body), 2)
                )
                peer.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n")
            else:
                peer.send(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    server = serve(script)
    with offgil.Client() as client:
        for _ in range(2):
            headers, content = send(client, server.url)
            assert content == TEXT
            assert headers["content-encoding"] == coding
    assert server.connections == (2 if send is by_map else 1)  # each map has its own


def test_what_is_asked_for(serve):
    def script(peer, _):
        while request := peer.read_request():
            [line] = [line for line in request.split(b"\r\n") if line.lower().startswith(b"accept-encoding:")]
            peer.answer(line.partition(b": ")[2])

    with offgil.Client(base_url=serve(script).url) as client:
        assert set(client.get("/").text.split(", ")) == KNOWN
        assert client.get("/", headers={"Accept-Encoding": "identity"}).text == "identity"


def test_a_coding_without_a_body(serve):
    def script(peer, _):
        while request := peer.read_request():
            status = b"204 No Content" if b" /204 " in request else b"200 OK"
            length = b"" if b" /204 " in request else b"Content-Length: %d\r\n" % (100 if b"HEAD" in request else 0)
            peer.send(b"HTTP/1.1 %s\r\nContent-Encoding: gzip\r\n%s\r\n" % (status, length))

    with offgil.Client(base_url=serve(script).url) as client:
        for method, path in (("HEAD", "/"), ("GET", "/204"), ("GET", "/empty")):
            assert client.request(method, path).content == b""
