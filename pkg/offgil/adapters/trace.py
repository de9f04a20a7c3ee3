"""The ``trace`` extension: the events that httpcore names, as far as they can be told of libcurl.

libcurl says what it did when there is an answer.  So the events of the request and of the head come in their order,
but all at once, when the head is there or the call has failed; those of the body come as it is read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from offgil.adapters.network import NetworkStream
from offgil.errors import ConnectError, ConnectTimeout, WriteError, WriteTimeout

__all__ = ["Tracer"]

Event = tuple[str, dict[str, Any]]


class TracedURL(NamedTuple):
    """A URL as httpcore has it."""

    scheme: bytes
    host: bytes
    port: int | None
    target: bytes


class TracedRequest(NamedTuple):
    """A request as httpcore has it."""

    method: bytes
    url: TracedURL
    headers: list[tuple[bytes, bytes]]
    stream: Any
    extensions: dict[str, Any]


class Tracer:
    """The events of one request.

    Args:
        callback: is called with the name and the info of each event.
        request: the package's.
        uds: the Unix socket that it goes to, if any.

    Thread-safety: compatible.
    """

    def __init__(self, callback: Callable[[str, dict[str, Any]], Any], request: Any, uds: str | None) -> None:
        self._callback = callback
        url = request.url
        target = request.extensions.get("target", url.raw_path)
        self._url = TracedURL(url.raw_scheme, url.raw_host, url.port, target)
        method = request.method.encode()
        self._request = TracedRequest(method, self._url, request.headers.raw, request.stream, request.extensions)
        self._uds = uds
        self._prefix = "http11"

    def tell(self, events: Iterator[Event]) -> None:
        """Call back for each event.

        Raises:
            TypeError: the callback is asynchronous.
        """
        for name, info in events:
            if inspect.iscoroutine(result := self._callback(name, info)):
                result.close()
                raise TypeError('extensions["trace"] must be an ordinary function for a blocking client')

    async def tell_async(self, events: Iterator[Event]) -> None:
        """Call back for each event, and await that.

        Raises:
            TypeError: the callback is not asynchronous.
        """
        for name, info in events:
            if not inspect.isawaitable(result := self._callback(name, info)):
                raise TypeError('extensions["trace"] must be an async function for an asynchronous client')
            await result

    def head(self, stream: Any, network: NetworkStream) -> Iterator[Event]:
        """The events up to the head of the answer."""
        _, _, opened, tls = stream.connection
        if opened:
            name, info = self._connecting()
            yield from _step(name, info, network)
            if tls is not None:
                yield from _step("connection.start_tls", {**self._timeout(), "server_hostname": self._host()}, network)
        self._prefix = "http2" if stream.http_version == "HTTP/2" else "http11"
        of_request = {"request": self._request}
        yield from _step(f"{self._prefix}.send_request_headers", of_request, None)
        yield from _step(f"{self._prefix}.send_request_body", of_request, None)
        head = stream.head
        if self._prefix == "http2":
            head = (head[1], head[3])
        yield from _step(f"{self._prefix}.receive_response_headers", of_request, head)

    def failure(self, error: Exception, raised: Exception) -> Iterator[Event]:
        """The events of a call that failed in a phase that is known; TLS counts as connecting."""
        of_request = {"request": self._request}
        if isinstance(error, (ConnectError, ConnectTimeout)):
            name, info = self._connecting()
        elif isinstance(error, (WriteError, WriteTimeout)):
            name, info = f"{self._prefix}.send_request_body", of_request
        else:
            name, info = f"{self._prefix}.receive_response_headers", of_request
        yield f"{name}.started", info
        yield f"{name}.failed", {"exception": raised}

    def retry(self) -> Iterator[Event]:
        """The events of another attempt to connect."""
        yield from _step("connection.retry", self._connecting()[1], None)

    def body_started(self) -> Iterator[Event]:
        """The event of the first look at the body."""
        yield f"{self._prefix}.receive_response_body.started", {"request": self._request}

    def body_over(self, raised: BaseException | None) -> Iterator[Event]:
        """The event of the end of the body."""
        if raised is None:
            yield f"{self._prefix}.receive_response_body.complete", {"return_value": None}
        else:
            yield f"{self._prefix}.receive_response_body.failed", {"exception": raised}

    def closed(self) -> Iterator[Event]:
        """The events of the end of the answer."""
        yield from _step(f"{self._prefix}.response_closed", {}, None)

    def _connecting(self) -> Event:
        if self._uds is not None:
            return "connection.connect_unix_socket", {**self._timeout(), "path": self._uds}
        port = self._url.port or (443 if self._url.scheme == b"https" else 80)
        return "connection.connect_tcp", {**self._timeout(), "host": self._host(), "port": port}

    def _timeout(self) -> dict[str, Any]:
        return {"timeout": (self._request.extensions.get("timeout") or {}).get("connect")}

    def _host(self) -> str:
        return self._url.host.decode("ascii")


def _step(name: str, info: dict[str, Any], result: Any) -> Iterator[Event]:
    yield f"{name}.started", info
    yield f"{name}.complete", {"return_value": result}
