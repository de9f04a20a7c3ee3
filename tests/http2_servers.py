"""HTTP/2 for the ``serve`` fixtures: each connection in the hands of a script."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from socket_servers import Peer


@dataclass
class Stream:
    """A request whose end was received."""

    talk: Talk
    id: int
    headers: list[tuple[str, str]]
    body: bytes = b""

    def __getitem__(self, name: str) -> str:
        return dict(self.headers)[name]

    def answer(self, body: bytes = b"ok", *, status: str = "200", end: bool = True) -> None:
        self.talk.h2.send_headers(self.id, [(":status", status), ("x-name", "value")])
        self.send(body, end=end)

    def send(self, body: bytes, *, end: bool = True) -> None:
        queued = self.talk.outbox.pop(self.id, (b"", False))[0]
        self.talk.outbox[self.id] = (queued + body, end)
        self.talk.flush()


@dataclass
class Talk:
    """One connection.

    ``resets`` keeps stream and error code of each stream that the client gave up; ``later`` holds what the
    connection's thread is to do, and when.
    """

    peer: Peer
    number: int
    h2: h2.connection.H2Connection
    resets: list[tuple[int, int]] = field(default_factory=list)
    later: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    outbox: dict[int, tuple[bytes, bool]] = field(default_factory=dict)
    over: bool = False

    def flush(self) -> None:
        """Send all that the client's windows have room for."""
        for stream, (body, end) in list(self.outbox.items()):
            with contextlib.suppress(h2.exceptions.StreamClosedError):  # the client gave it up
                sent = 0
                while room := min(self.h2.local_flow_control_window(stream), 16384, len(body) - sent):
                    self.h2.send_data(stream, body[sent : sent + room])
                    sent += room
                if sent < len(body):
                    self.outbox[stream] = (body[sent:], end)
                    continue
                if end:
                    self.h2.end_stream(stream)
            del self.outbox[stream]
        if data := self.h2.data_to_send():
            self.peer.send(data)

    def goodbye(self, last: int) -> None:
        """Announce that the connection ends, and that no request after stream ``last`` was looked at."""
        self.h2.close_connection(last_stream_id=last)
        self.flush()
        self.over = True

    def after(self, seconds: float, do: Callable[[], object]) -> None:
        self.later.append((time.monotonic() + seconds, do))

    def receive(self) -> bytes:
        """Wait for bytes, doing what is due meanwhile."""
        while self.later:
            self.later.sort(key=lambda item: item[0])
            left = self.later[0][0] - time.monotonic()
            if left <= 0:
                self.later.pop(0)[1]()
                continue
            self.peer.sock.settimeout(left)
            with contextlib.suppress(TimeoutError):
                return self.peer.sock.recv(65536)
        self.peer.sock.settimeout(None)
        return self.peer.sock.recv(65536)


class Http2Script:
    """Calls ``handle`` with each :class:`Stream` whose request is there; ``requests`` keeps them all.

    Args:
        handle: answers or not, on the connection's thread.
        settings: what the server announces, by code.
    """

    def __init__(self, handle: Callable[[Stream], object], settings: dict[int, int] | None = None) -> None:
        self.handle = handle
        self.settings = settings
        self.requests: list[Stream] = []
        self.talks: list[Talk] = []
        self.changed = threading.Condition()

    def __call__(self, peer: Peer, number: int) -> None:
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        talk = Talk(peer, number, h2.connection.H2Connection(config))
        self.talks.append(talk)
        if self.settings:
            talk.h2.local_settings.update(self.settings)
        talk.h2.initiate_connection()
        talk.flush()
        open_streams: dict[int, Stream] = {}
        while data := talk.receive():
            if talk.over:
                continue  # closing now, with unread bytes, would take back what was sent
            for event in talk.h2.receive_data(data):
                self.take(talk, open_streams, event)
                if talk.over:
                    break
            talk.flush()

    def take(self, talk: Talk, open_streams: dict[int, Stream], event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                open_streams[event.stream_id] = Stream(talk, event.stream_id, event.headers)
            case h2.events.DataReceived():
                open_streams[event.stream_id].body += event.data
                talk.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                stream = open_streams.pop(event.stream_id)
                self.requests.append(stream)
                self.handle(stream)
            case h2.events.StreamReset():
                with self.changed:
                    talk.resets.append((event.stream_id, int(event.error_code)))
                    self.changed.notify_all()

    def wait_for_reset(self, timeout: float = 10) -> tuple[int, int]:
        """The first reset of the first connection."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.talks and self.talks[0].resets, timeout)
        return self.talks[0].resets[0]
