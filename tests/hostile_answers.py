"""Answers that a broken or hostile server may give, and what the client has to make of each."""

from __future__ import annotations

import functools
import gzip
import socket
import struct
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import offgil
from offgil import _core
from socket_servers import Peer

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"Content-Length: 2\r\n\r\nok"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
SECRET = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"

Outcome = offgil.Response | offgil.RequestError


@dataclass(frozen=True)
class Scenario:
    """``play`` sends the answer to a request that was read, and returns whether the connection stays open."""

    play: Callable[[Peer], bool]
    #: The error's exact class, or the body of the answer that the client accepts.
    outcome: type[offgil.RequestError] | bytes
    read_timeout: float = 30

    def check(self, outcome: Outcome) -> None:
        if isinstance(self.outcome, bytes):
            assert isinstance(outcome, offgil.Response), outcome
            assert outcome.content == self.outcome
        else:
            assert type(outcome) is self.outcome, outcome
            assert str(outcome).startswith("GET http://127.0.0.1:")


def whole(answer: bytes, outcome: type[offgil.RequestError] | bytes) -> Scenario:
    """The server waits for the next request: the client must find out by itself."""

    def play(peer: Peer) -> bool:
        peer.send(answer)
        return True

    return Scenario(play, outcome)


def cut(answer: bytes, outcome: type[offgil.RequestError] | bytes) -> Scenario:
    """The server closes the connection after the answer."""

    def play(peer: Peer) -> bool:
        peer.send(answer)
        return False

    return Scenario(play, outcome)


def reset(answer: bytes) -> Scenario:
    """The server resets the connection after the answer."""

    def play(peer: Peer) -> bool:
        peer.send(answer)
        time.sleep(0.02)  # a reset throws away what the client has not read yet
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    return Scenario(play, offgil.ReadError)


def drip(start: bytes, piece: bytes) -> Scenario:
    """The server sends a piece every 20 ms, for longer than the read timeout, and then a good end."""

    def play(peer: Peer) -> bool:
        peer.send(start)
        for _ in range(100):
            time.sleep(0.02)
            peer.send(piece)
        peer.send(END)
        return True

    return Scenario(play, offgil.ReadTimeout, read_timeout=0.3)


def coded(coding: bytes, body: bytes) -> bytes:
    return OK + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n%s" % (coding, len(body), body)


@functools.cache
def bomb() -> bytes:
    """64 MiB of zeros as 64 KiB of gzip."""
    return gzip.compress(bytes(64 << 20), mtime=0)


PROTOCOL, TOO_LARGE, DECODING = offgil.RemoteProtocolError, offgil.ResponseTooLarge, offgil.DecodingError
PACKED = gzip.compress(b"hello" * 1000, mtime=0)

SCENARIOS: dict[str, Scenario] = {
    # The status line
    "nothing": cut(b"", PROTOCOL),
    "garbage": whole(b"\xff\xfe\x00 garbage\r\n\r\n", PROTOCOL),
    "http-0.9": whole(b"<html>hello</html>", PROTOCOL),
    "cut-status-line": cut(b"HTTP/1.", PROTOCOL),
    "lower-case-version": whole(b"http/1.1 200 OK\r\n" + END, PROTOCOL),
    "unknown-version": whole(b"HTTP/9.9 200 OK\r\n" + END, PROTOCOL),
    "no-status": whole(b"HTTP/1.1 OK\r\n" + END, PROTOCOL),
    "status-0": whole(b"HTTP/1.1 000 OK\r\n" + END, PROTOCOL),
    "status-99": whole(b"HTTP/1.1 099 OK\r\n" + END, PROTOCOL),
    "status-negative": whole(b"HTTP/1.1 -200 OK\r\n" + END, PROTOCOL),
    "status-1000": whole(b"HTTP/1.1 1000 OK\r\n" + END, PROTOCOL),
    "status-above-32-bits": whole(b"HTTP/1.1 4294967496 OK\r\n" + END, PROTOCOL),
    "status-999": whole(b"HTTP/1.1 999 OK\r\n" + END, b"ok"),
    "unasked-upgrade": whole(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", PROTOCOL),
    # Header fields
    "cut-in-a-field": cut(OK + b"Content-Le", PROTOCOL),
    "cut-after-a-field": cut(OK + b"Content-Length: 2\r\n", PROTOCOL),
    "header-of-1-MiB": whole(OK + b"X: 0123456789abcdef\r\n" * 50_000 + END, TOO_LARGE),
    "line-of-1-MiB": whole(OK + b"X: " + b"v" * (1 << 20) + b"\r\n" + END, TOO_LARGE),
    "line-without-end": whole(OK + b"X: " + b"v" * (1 << 20), TOO_LARGE),
    "nul-in-a-value": whole(OK + b"X: a\0b\r\n" + END, PROTOCOL),
    "nul-in-a-name": whole(OK + b"X\0: a\r\n" + END, PROTOCOL),
    "bare-cr": whole(OK + b"X: a\rInjected: b\r\n" + END, PROTOCOL),
    "no-colon": whole(OK + b"nonsense\r\n" + END, PROTOCOL),
    "no-name": whole(OK + b": nonsense\r\n" + END, PROTOCOL),
    "space-before-colon": whole(OK + b"Content-Length : 2\r\n\r\nok", PROTOCOL),
    "status-line-as-field": whole(OK + b"HTTP/1.1: 500\r\n" + END, PROTOCOL),
    "fold-before-fields": whole(OK + b" folded: 1\r\n" + END, PROTOCOL),
    "folded": whole(OK + b"X: a\r\n  b\r\n \r\n" + END, b"ok"),
    "line-feeds-only": whole(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"ok"),
    # The length of the body
    "lengths-conflict": whole(OK + b"Content-Length: 3\r\n" + END, PROTOCOL),
    "lengths-conflict-in-a-list": whole(OK + b"Content-Length: 2, 3\r\n\r\nok", PROTOCOL),
    "length-negative": whole(OK + b"Content-Length: -2\r\n\r\nok", PROTOCOL),
    "length-signed": whole(OK + b"Content-Length: +2\r\n\r\nok", PROTOCOL),
    "length-no-number": whole(OK + b"Content-Length: two\r\n\r\nok", PROTOCOL),
    "length-half-a-number": whole(OK + b"Content-Length: 2x\r\n\r\nok", PROTOCOL),
    "length-empty": whole(OK + b"Content-Length:\r\n\r\nok", PROTOCOL),
    "length-above-64-bits": whole(OK + b"Content-Length: 99999999999999999999\r\n\r\nok", PROTOCOL),
    "length-largest": whole(OK + b"Content-Length: 9223372036854775807\r\n\r\nok", TOO_LARGE),
    "length-twice-alike": whole(OK + b"Content-Length: 2\r\n" + END, b"ok"),
    "length-and-chunked": whole(
        OK + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"ok"
    ),
    "cut-in-the-body": cut(OK + b"Content-Length: 10\r\n\r\nshort", PROTOCOL),
    "reset-before-the-answer": reset(b""),
    "reset-in-the-header": reset(OK + b"X: "),
    "reset-in-the-body": reset(OK + b"Content-Length: 10\r\n\r\nshort"),
    # Chunks
    "chunk-size-no-number": whole(CHUNKED + b"zz\r\nok\r\n0\r\n\r\n", PROTOCOL),
    "chunk-size-negative": whole(CHUNKED + b"-2\r\nok\r\n0\r\n\r\n", PROTOCOL),
    "chunk-size-above-64-bits": whole(CHUNKED + b"f" * 17 + b"\r\nok\r\n0\r\n\r\n", PROTOCOL),
    "chunk-size-missing": whole(CHUNKED + b"\r\nok\r\n0\r\n\r\n", PROTOCOL),
    "chunk-without-line-end": whole(CHUNKED + b"2\r\nok0\r\n\r\n", PROTOCOL),
    "chunk-cut": cut(CHUNKED + b"20\r\nok", PROTOCOL),
    "chunks-without-the-last": cut(CHUNKED + b"2\r\nok\r\n", PROTOCOL),
    "chunks-without-the-final-line": cut(CHUNKED + b"2\r\nok\r\n0\r\n", PROTOCOL),
    "trailers": whole(CHUNKED + b"2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n", b"ok"),
    "trailers-of-an-empty-body": whole(CHUNKED + b"0\r\nX-Late: 1\r\n\r\n", b""),
    "trailers-of-1-MiB": whole(CHUNKED + b"2\r\nok\r\n0\r\n" + b"X: 0123456789abcdef\r\n" * 50_000, TOO_LARGE),
    "trailer-line-of-1-MiB": whole(CHUNKED + b"2\r\nok\r\n0\r\nX: " + b"v" * (1 << 20), TOO_LARGE),
    "unknown-transfer-coding": whole(OK + b"Transfer-Encoding: nonsense\r\n\r\nok", DECODING),
    # Content codings
    "not-gzip": whole(coded(b"gzip", b"not compressed"), DECODING),
    "not-br": whole(coded(b"br", b"not compressed"), DECODING),
    "not-zstd": whole(coded(b"zstd", b"not compressed"), DECODING),
    "not-deflate": whole(coded(b"deflate", b"\xffnot compressed"), DECODING),
    "gzip-bad-checksum": whole(coded(b"gzip", PACKED[:-8] + bytes(8)), DECODING),
    "gzip-and-more": whole(coded(b"gzip", PACKED + b"more"), DECODING),
    "gzip-cut": cut(coded(b"gzip", PACKED)[:-4], PROTOCOL),
    "unknown-coding": whole(coded(b"nonsense", b"ok"), DECODING),
    "many-codings": whole(coded(b", ".join([b"gzip"] * 50), PACKED), DECODING),
    "gzip-bomb": whole(coded(b"gzip", bomb()), TOO_LARGE),
    "deflate-bomb": whole(coded(b"deflate", zlib.compress(bytes(64 << 20))), TOO_LARGE),
    "bomb-within-a-bomb": whole(coded(b"gzip, gzip", gzip.compress(bomb(), mtime=0)), TOO_LARGE),
    "large-body-without-length": cut(OK + b"\r\n" + bytes(2 << 20), TOO_LARGE),
    # Interim answers
    "interim": whole(EARLY * 3 + OK + END, b"ok"),
    "interim-and-nothing": cut(EARLY, PROTOCOL),
    "interim-flood": whole(EARLY * 10_000 + OK + END, PROTOCOL),
    # Time
    "drip-in-the-status-line": drip(b"HTTP/1.1 200 ", b"O"),
    "drip-in-a-field": drip(OK + b"X: ", b"v"),
    "drip-of-fields": drip(OK, b"X: v\r\n"),
    "drip-in-a-chunk-size": drip(CHUNKED, b"0"),
    "drip-of-trailers": drip(CHUNKED + b"2\r\nok\r\n0\r\n", b"X: v\r\n"),
    "drip-of-trailers-of-an-empty-body": drip(CHUNKED + b"0\r\n", b"X: v\r\n"),
    # More than the answer: never an answer to the next request
    "surplus": whole(OK + END + SECRET, b"ok"),
    "surplus-after-chunks": whole(CHUNKED + b"2\r\nok\r\n0\r\n\r\n" + SECRET, b"ok"),
    "surplus-after-204": whole(b"HTTP/1.1 204 No Content\r\n\r\n" + SECRET, b""),
    "surplus-after-304": whole(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n" + SECRET, b""),
    "closed-after-the-answer": cut(OK + END, b"ok"),
}

if _core.libcurl_info().version.startswith("7."):
    # Its message quotes the byte.  Later versions overlook a coding that is no token, and wait for the body's end.
    SCENARIOS["transfer-coding-not-utf-8"] = whole(OK + b"Transfer-Encoding: \x80\r\n\r\nok", DECODING)
