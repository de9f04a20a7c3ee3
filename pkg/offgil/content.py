"""What a request can have for a body, and how it is encoded for the native core."""

from __future__ import annotations

import io
import json as jsonlib
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from functools import partial
from typing import Any, BinaryIO

from offgil._core import FileBody, IterableBody
from offgil.errors import LocalProtocolError, StreamConsumed

__all__ = ["AsyncIterableBody", "Body", "Content", "announced_length", "encode_body", "iterable_body", "replayable"]

Piece = bytes | bytearray | memoryview
Content = bytes | bytearray | memoryview | str | BinaryIO | Iterable[Piece] | AsyncIterable[Piece]

_PIECE = 64 * 1024


class AsyncIterableBody:
    """The counterpart of :class:`IterableBody` for an asynchronous client, which advances it itself.

    Args:
        pieces: the iterable.
        size: the bytes that it has to yield; ``None`` for any number.

    Thread-safety: compatible.
    """

    def __init__(self, pieces: AsyncIterable[Piece], size: int | None) -> None:
        self.size = size
        self.replayable = not isinstance(pieces, AsyncIterator)
        self._pieces = pieces
        self._started = False

    def start(self) -> AsyncIterable[Piece]:
        """Return the iterable for one request.

        Raises:
            StreamConsumed: it is an iterator, which an earlier request has read.
        """
        if self._started and not self.replayable:
            raise StreamConsumed(
                "the request's body is an asynchronous iterator, which has been read; give bytes, a file or an object "
                "that can be iterated over anew to have it sent again"
            )
        self._started = True
        return self._pieces


Body = bytes | FileBody | IterableBody | AsyncIterableBody


def encode_body(
    json: Any, content: Content | None, headers: list[tuple[str, str | None]], *, asynchronous: bool
) -> Body | None:
    """Return the body as the core takes it, adding a Content-Type to ``headers`` for JSON unless there is one.

    ``asynchronous`` says whether an asynchronous iterable can be read, for an :class:`AsyncIterableBody`.

    Raises:
        TypeError: ``content`` is nothing that can be sent, or both are given.
        LocalProtocolError: ``headers`` has a Content-Length for an iterable that is no number.
        OSError: the file cannot be asked for its size or position.
    """
    if json is not None:
        if content is not None:
            raise TypeError("give either json= or content=, not both")
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", "application/json"))
        return jsonlib.dumps(json, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    if content is None or isinstance(content, bytes):
        return content
    if isinstance(content, str | bytearray | memoryview):
        return content.encode() if isinstance(content, str) else bytes(content)
    if hasattr(content, "read"):
        return _file_body(content, headers)
    if isinstance(content, AsyncIterable):
        if not asynchronous:
            raise TypeError("content is an asynchronous iterable, which only AsyncClient.request and stream can read")
        return AsyncIterableBody(content, announced_length(_lengths(headers)))
    if isinstance(content, Iterable) and not isinstance(content, Mapping):
        return iterable_body(content, _lengths(headers))
    raise TypeError(f"content must be bytes, str, a binary file or an iterable of bytes, not {type(content).__name__}")


def replayable(body: Body | None) -> bool:
    """Whether a body can be sent a second time: all but iterators, and files that the core cannot read itself."""
    return not isinstance(body, IterableBody | AsyncIterableBody) or body.replayable


def _file_body(file: Any, headers: list[tuple[str, str | None]]) -> Body:
    if isinstance(file, io.TextIOBase):
        raise TypeError("content is a text file; open it in binary mode, 'rb'")
    # Only these have their descriptor's bytes for content: a GzipFile, too, has a descriptor.
    raw = getattr(file, "raw", file)
    if isinstance(raw, io.FileIO):
        if file.writable():
            file.flush()
        status = os.fstat(raw.fileno())
        if stat.S_ISREG(status.st_mode):
            if not status.st_size:  # empty, or a file of /proc, which tells no size
                return bytes(file.read())
            start = file.tell()
            return FileBody(raw.fileno(), start, max(0, status.st_size - start), str(raw.name))
    # read1 returns what a pipe has, read would wait for all of a piece
    read = getattr(file, "read1", file.read)
    return iterable_body(iter(partial(read, _PIECE), b""), _lengths(headers))


def _lengths(headers: list[tuple[str, str | None]]) -> list[str]:
    return [value for name, value in headers if value is not None and name.lower() == "content-length"]


def iterable_body(content: Iterable[Any], announced: Iterable[str]) -> Body:
    """Return an iterable of bytes as the core takes it.

    Args:
        content: advanced while its request is sent.
        announced: the values of the request's Content-Length headers.

    Raises:
        LocalProtocolError: they are not one number.
    """
    length = announced_length(announced)
    if length != 0:
        return IterableBody(content, length)
    if any(content):  # the core would not even ask
        raise LocalProtocolError("the request's body is longer than its Content-Length, 0; nothing was sent")
    return b""


def announced_length(values: Iterable[str]) -> int | None:
    """Return what a request's Content-Length headers say.

    Raises:
        LocalProtocolError: they are not one number.
    """
    lengths = {value.strip() for value in values}
    if not lengths:
        return None
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit() and len(length) < 19):
        raise LocalProtocolError(f"Content-Length {length!r}: give one number, or none; nothing was sent")
    return int(length)
