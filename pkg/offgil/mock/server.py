"""The mock server's HTTP side: h11 on asyncio.

One protocol object per connection, no task per request: a request is answered from ``data_received`` or, with
a latency, from a timer.  The head and the body of an answer leave in one write: two would meet Nagle's
algorithm and the client's delayed acknowledgement and cost 40 ms on kept-alive connections.  asyncio itself
sets TCP_NODELAY, which streams need.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import h11

from offgil.mock import openai
from offgil.mock.answer import Answer, BadRequest, Call
from offgil.mock.faults import UNTOUCHED, Faults, Plan, Settings
from offgil.mock.routes import Route, find

__all__ = ["serve", "write_ready_file"]


class _Connection(asyncio.Protocol):
    """One client's connection; answers its requests one after the other."""

    def __init__(self, faults: Faults, connections: set[_Connection]) -> None:
        self._faults = faults
        self._connections = connections
        self._http = h11.Connection(h11.SERVER)
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._route: Route | Answer
        self._method = ""
        self._headers: dict[bytes, bytes] = {}
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
                self._route = find(self._method, event.target.decode("ascii"))
                self._headers = dict(event.headers)
                self._body.clear()
                if http.they_are_waiting_for_100_continue:
                    self._write(h11.InformationalResponse(status_code=100, headers=[]))
            elif isinstance(event, h11.ConnectionClosed):
                self._transport.close()
                return
            else:  # NEED_DATA, or PAUSED: the connection is being closed
                return

    def _answer(self) -> None:
        route = self._route
        if isinstance(route, Answer):
            self._send(route)
            return
        call = Call(self._headers, b"".join(self._body))
        try:
            plan = self._faults.plan(call.headers) if self._method == "POST" else UNTOUCHED
        except BadRequest as error:
            self._send(route.refuse(400, str(error), ()))
            return
        if plan.status is None:
            answer = route.answer(call)
        else:
            retry_after = self._faults.retry_after if plan.status == 429 else ()
            answer = route.refuse(plan.status, "The mock server was asked for this error", retry_after)
        if plan.delay > 0:
            self._after(plan.delay, lambda: self._send(answer, plan))
        else:
            self._send(answer, plan)

    def _after(self, seconds: float, step: Callable[[], None]) -> None:
        """Do ``step`` later, and then what has come meanwhile."""

        def wake() -> None:
            self._timer = None
            step()
            if not self._transport.is_closing():
                self._advance()

        self._timer = asyncio.get_running_loop().call_later(seconds, wake)

    def _send(self, answer: Answer, plan: Plan = UNTOUCHED) -> None:
        if answer.events:
            headers = [
                (b"content-type", b"text/event-stream; charset=utf-8"),
                (b"transfer-encoding", b"chunked"),
            ]
            self._write(h11.Response(status_code=answer.status, headers=[*headers, *answer.headers]))
            self._stream(iter(answer.events[: plan.break_after]), plan, plan.first_token)
        else:
            headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer.body))]
            self._write(
                h11.Response(status_code=answer.status, headers=[*headers, *answer.headers]),
                h11.Data(data=b"" if self._method == "HEAD" else answer.body),
                h11.EndOfMessage(),
            )
            self._finish()

    def _stream(self, events: Iterator[bytes], plan: Plan, pause: float) -> None:
        """Send events from the next one on, each in a write of its own, with the plan's pauses before them."""
        if pause > 0:
            self._after(pause, lambda: self._stream(events, plan, 0.0))
            return
        for event in events:
            if self._transport.is_closing():
                return  # the client has gone
            self._write(h11.Data(data=event))
            if plan.interval > 0:
                self._after(plan.interval, lambda: self._stream(events, plan, 0.0))
                return
        if plan.break_after is not None:
            self._transport.close()
            return
        self._write(h11.EndOfMessage())
        self._finish()

    def _finish(self) -> None:
        if self._http.our_state is h11.MUST_CLOSE:
            self._transport.close()
        else:
            self._http.start_next_cycle()

    def _write(self, *events: h11.Event) -> None:
        self._transport.write(b"".join([self._http.send(event) or b"" for event in events]))

    def _refuse(self, exc: h11.RemoteProtocolError) -> None:
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._send(openai.refuse(exc.error_status_hint, str(exc)))
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
    faults = Faults(settings)
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
