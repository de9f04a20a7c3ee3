"""Server-sent events, as the WHATWG HTML standard parses them (section 9.2, "Server-sent events")."""

from __future__ import annotations

from dataclasses import dataclass

from offgil.lines import LineDecoder

__all__ = ["ServerSentEvent"]


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event of an event stream.

    Attributes:
        event: its type; ``"message"`` unless the server names another.
        data: its data lines, joined with line feeds.
        id: the last event id as of this event, which may stem from an earlier one; ``""`` before the first.
        retry: the reconnection time in milliseconds that the server asked for last, or ``None``.

    Thread-safety: safe on shared objects (immutable).
    """

    event: str = "message"
    data: str = ""
    id: str = ""
    retry: int | None = None


class EventParser:
    """Turns the bytes of an event stream, cut anywhere, into events.

    What follows the last blank line is an incomplete event and never comes out, as the standard wants it.
    """

    def __init__(self) -> None:
        # Always UTF-8, whatever the charset of Content-Type; a byte order mark may lead.
        self._lines = LineDecoder("utf-8-sig")
        self._event = ""
        self._data: list[str] = []
        self._id = ""
        self._retry: int | None = None

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Return the events that ``data`` completes."""
        events = []
        for line in self._lines.feed(data):
            if line:
                self._field(line)
                continue
            # Without a data line the block sets the id or the reconnection time at most.
            if self._data:
                events.append(ServerSentEvent(self._event or "message", "\n".join(self._data), self._id, self._retry))
            self._event, self._data = "", []
        return events

    def finish(self) -> list[ServerSentEvent]:
        """Return what the end of the stream completes: nothing."""
        return []

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id":
            if "\0" not in value:
                self._id = value
        # More digits than that are no time; int() would refuse thousands of them.
        elif name == "retry" and len(value) <= 18 and value.isascii() and value.isdigit():
            self._retry = int(value)
