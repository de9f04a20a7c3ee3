"""A small web site for tests: one function from a parsed request to an answer, and a log of what came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from socket_servers import Peer, ScenarioServer


@dataclass(frozen=True)
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Site:
    """A script for the ``serve`` fixture; ``answer`` returns a whole HTTP answer."""

    answer: Callable[[Asked], bytes]
    asked: list[Asked] = field(default_factory=list)

    def __call__(self, peer: Peer, _: int) -> None:
        while raw := peer.read_request():
            head, _, body = raw.partition(b"\r\n\r\n")
            line, *fields = head.decode().split("\r\n")
            method, target, _ = line.split(" ")
            headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
            asked = Asked(method, target, headers, body)
            self.asked.append(asked)
            peer.send(self.answer(asked))


def page(body: bytes = b"ok", *, status: int = 200, **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%s\r\n%s" % (status, len(body), lines.encode(), body)


def redirect(location: str, status: int = 302) -> bytes:
    return page(b"elsewhere", status=status, Location=location)


def visit(serve: Callable[..., ScenarioServer], answer: Callable[[Asked], bytes]) -> tuple[str, Site]:
    """Serve ``answer``; return the URL and the site."""
    site = Site(answer)
    return serve(site).url, site
