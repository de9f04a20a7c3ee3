"""Proxies to put between a client and a server: scripts for the ``serve`` fixture."""

from __future__ import annotations

import contextlib
import http.client
import select
import socket
import struct
from base64 import b64encode
from urllib.parse import urlsplit

from socket_servers import Peer


def relay(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until either side ends."""
    ways = {one: other, other: one}
    with contextlib.suppress(OSError):
        while True:
            # What TLS has decrypted already does not make its socket readable.
            ready = [sock for sock in ways if getattr(sock, "pending", int)()]
            for sock in ready or select.select(list(ways), [], [])[0]:
                data = sock.recv(65536)
                if not data:
                    return
                ways[sock].sendall(data)


class HttpProxy:
    """Passes plain requests on and opens tunnels; ``heads`` keeps what it was asked.

    Args:
        credentials: "user:password" that every request must show.
        refusal: the status line's end that every CONNECT is answered with.
    """

    def __init__(self, *, credentials: str | None = None, refusal: bytes | None = None) -> None:
        self.wanted = credentials and b"Basic " + b64encode(credentials.encode())
        self.refusal = refusal
        self.heads: list[bytes] = []

    def __call__(self, peer: Peer, _: int) -> None:
        while request := peer.read_request():
            head, _, body = request.partition(b"\r\n\r\n")
            self.heads.append(head)
            method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
            fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
            shown = fields.pop("Proxy-Authorization", "").encode()
            if self.wanted and shown != self.wanted:
                peer.send(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
            elif method != "CONNECT":
                self.forward(peer, method, target, fields, body)
            elif self.refusal:
                peer.send(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % self.refusal)
            else:
                host, port = target.rsplit(":", 1)
                with socket.create_connection((host.strip("[]"), int(port))) as server:
                    peer.send(b"HTTP/1.1 200 Go on\r\nX-Proxy: yes\r\n\r\n")
                    relay(peer.sock, server)
                return

    @staticmethod
    def forward(peer: Peer, method: str, target: str, fields: dict[str, str], body: bytes) -> None:
        url = urlsplit(target)
        server = http.client.HTTPConnection(url.netloc, timeout=30)
        try:
            server.request(method, url.path or "/", body or None, fields)
            answer = server.getresponse()
            peer.answer(answer.read(), head=b"Via: test\r\n")
        finally:
            server.close()


class SocksProxy:
    """SOCKS5 (RFC 1928); ``asked`` keeps the type of address and the address of each request.

    Args:
        credentials: (user, password) that must be shown (RFC 1929).
        refusal: the code that every request is refused with.
    """

    def __init__(self, *, credentials: tuple[bytes, bytes] | None = None, refusal: int = 0) -> None:
        self.credentials = credentials
        self.refusal = refusal
        self.asked: list[tuple[str, str]] = []

    def __call__(self, peer: Peer, _: int) -> None:
        stream = peer.sock.makefile("rb")
        methods = stream.read(stream.read(2)[1])
        wanted = 2 if self.credentials else 0
        if wanted not in methods:
            return peer.send(b"\x05\xff")
        peer.send(bytes([5, wanted]))
        if self.credentials:
            user = stream.read(stream.read(2)[1])
            password = stream.read(stream.read(1)[0])
            good = (user, password) == self.credentials
            peer.send(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                return None
        kind = stream.read(4)[3]
        if kind == 3:
            name = stream.read(stream.read(1)[0]).decode()
        else:
            family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
            name = socket.inet_ntop(family, stream.read(size))
        (port,) = struct.unpack(">H", stream.read(2))
        self.asked.append(("name" if kind == 3 else "address", name))
        peer.send(bytes([5, self.refusal, 0, 1, 0, 0, 0, 0, 0, 0]))
        if self.refusal:
            return None
        with socket.create_connection(("127.0.0.1", port)) as server:
            return relay(peer.sock, server)
