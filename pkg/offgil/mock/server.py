"""The mock server's HTTP side: h11 on asyncio.

One protocol object per connection, no task per request: a request is answered from ``data_received`` or, with
a latency, from a timer.  The head and the body of an answer leave in one write: two would meet Nagle's
algorithm and the client's delayed acknowledgement and cost 40 ms on kept-alive connections.  asyncio itself
sets TCP_NODELAY, which streams need.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h11

from offgil.mock.openai import Answer, error, find

__all__ = ["Settings", "serve", "write_ready_file"]


@dataclass(frozen=True, slots=True)
class Settings:
    """How the server behaves.

    Attributes:
        latency: seconds before an answer to a POST starts.
        jitter: up to so many seconds more, drawn per request.
        error_rate: fraction of POSTs that get 429, 500 and 503 in turn.
        retry_after: seconds named in the ``Retry-After`` of a 429.
        seed: of the draws; which request of the sequence fails depends on nothing else.
    """

    latency: float = 0.0
    jitter: float = 0.0
    error_rate: float = 0.0
    retry_after: float = 1.0
    seed: int = 0


class _Faults:
    """Draws each POST's delay and error, in order of arrival."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._random = random.Random(settings.seed).random
        retry_after = ((b"retry-after", f"{settings.retry_after:g}".encode()),)
        self._errors = (
            error(429, "Rate limit reached", "requests", code="rate_limit_exceeded", headers=retry_after),
            error(500, "The server had an error while processing your request", "server_error"),
            error(503, "The server is overloaded or not ready yet", "server_error"),
        )
        self._failed = 0

    def error(self) -> Answer | None:
        if not self._settings.error_rate or self._random() >= self._settings.error_rate:
            return None
        self._failed += 1
        return self._errors[(self._failed - 1) % len(self._errors)]

    def delay(self) -> float:
        settings = self._settings
        return settings.latency + (settings.jitter * self._random() if settings.jitter else 0.0)


class _Connection(asyncio.Protocol):
    """One client's connection; answers its requests one after the other."""

    def __init__(self, faults: _Faults, connections: set[_Connection]) -> None:
        self._faults = faults
        self._connections = connections
        self._http = h11.Connection(h11.SERVER)
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._handler: Callable[[bytes], Answer] | Answer
        self._method = ""
        self._body: list[bytes | bytearray] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._http.receive_data(data)
        if self._timer is None:
            self._advance()

    def eof_received(self) -> bool:
        self._http.receive_data(b"")
        return self._timer is not None  # keep our side open for an answer that is still due

    def close(self) -> None:
        self._transport.abort()

    def _advance(self) -> None:
        """Handle what h11 has buffered until it needs more bytes or an answer is due later."""
        http = self._http
        while self._timer is None:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError as exc:
                self._refuse(exc)
                return
            if isinstance(event, h11.Data):
                self._body.append(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self._answer()
            elif isinstance(event, h11.Request):
                self._method = event.method.decode("ascii")
                self._handler = find(self._method, event.target.decode("ascii"))
                self._body.clear()
                if http.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.ConnectionClosed):
                self._transport.close()
                return
            else:  # NEED_DATA, or PAUSED: the connection is being closed
                return

    def _answer(self) -> None:
        handler = self._handler
        is_post = self._method == "POST"
        if isinstance(handler, Answer):
            answer = handler
        else:
            answer = (self._faults.error() if is_post else None) or handler(b"".join(self._body))
        delay = self._faults.delay() if is_post else 0.0
        if delay > 0:
            self._timer = asyncio.get_running_loop().call_later(delay, self._send_later, answer)
        else:
            self._send(answer)

    def _send_later(self, answer: Answer) -> None:
        self._timer = None
        self._send(answer)
        if not self._transport.is_closing():
            self._advance()

    def _send(self, answer: Answer) -> None:
        if answer.events:
            headers = [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"transfer-encoding", b"chunked"),
            ]
            self._write(h11.Response(status_code=answer.status, headers=[*headers, *answer.headers]))
            for event in answer.events:
                self._write(h11.Data(data=event))
            self._write(h11.EndOfMessage())
        else:
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer.body))]
            self._write(
                h11.Response(status_code=answer.status, headers=[*headers, *answer.headers]),
                h11.Data(data=b"" if self._method == "HEAD" else answer.body),
                h11.EndOfMessage(),
            )
        if self._http.our_state is h11.MUST_CLOSE:
            self._transport.close()
        else:
            self._http.start_next_cycle()

    def _write(self, *events: h11.Event) -> None:
        self._transport.write(b"".join([self._http.send(event) or b"" for event in events]))

    def _refuse(self, exc: h11.RemoteProtocolError) -> None:
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._send(error(exc.error_status_hint, str(exc), "invalid_request_error"))
        self._transport.close()


async def serve(settings: Settings, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: latency and errors.
        host: address to listen on.
        port: 0 picks a free one.
        ready: called once with the base URL, when connections are accepted.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    faults = _Faults(settings)
    connections: set[_Connection] = set()
    # The backlog holds all connections of a client that opens a thousand at once.
    server = await loop.create_server(lambda: _Connection(faults, connections), host, port, backlog=4096)
    bound_port = server.sockets[0].getsockname()[1]
    ready(f"http://{f'[{host}]' if ':' in host else host}:{bound_port}")
    await stop.wait()
    server.close()
    for connection in list(connections):
        connection.close()


def write_ready_file(path: Path, url: str) -> None:
    """Write ``url`` to ``path`` in one step, so that whoever waits for the file never reads half of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(url + "\n")
    temporary.replace(path)
