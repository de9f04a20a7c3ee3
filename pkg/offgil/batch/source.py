"""Reads the file of requests, a line at a time.

OpenAI's Batch format: ``{"custom_id": "…", "method": "POST", "url": "/v1/chat/completions", "body": {…}}``.
Each line becomes a :class:`Job`, or a :class:`Rejected` that says what is wrong with it; no line stops the
run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NoReturn
from urllib.parse import urlsplit

from offgil.batch.ids import IdSet
from offgil.batch.results import Answered
from offgil.request import Request

__all__ = ["Job", "Rejected", "RequestFile", "join_url", "strict_json"]

#: One request must fit into memory; a longer line is no request but the wrong file.
MAX_LINE = 64 << 20

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_BODILESS = frozenset({"GET", "DELETE"})
_HEADERS = {"content-type": "application/json"}
_BOM = b"\xef\xbb\xbf"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


#: Parses JSON as RFC 8259 has it: Python's own NaN and Infinity would go out as something that servers
#: refuse.
strict_json = json.JSONDecoder(parse_constant=_refuse_constant).decode
# ASCII with escapes: the one form in which every str, unpaired surrogates included, can be sent.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class Job:
    """A request on its way.

    ``path`` is its line's ``url``, ``size`` its line's length in bytes, ``tokens`` an estimate of its cost.
    """

    __slots__ = ("attempts", "custom_id", "path", "request", "size", "tokens")

    def __init__(self, custom_id: str, request: Request, path: str, size: int, tokens: int) -> None:
        self.custom_id = custom_id
        self.request = request
        self.path = path
        self.size = size
        self.tokens = tokens
        self.attempts = 0


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that cannot be sent.  ``custom_id`` is ``None`` if the line has none that is its own."""

    line: int
    custom_id: str | None
    code: str
    message: str
    size: int


class _LineError(Exception):
    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message


@lru_cache(maxsize=256)
def join_url(base_url: str, path: str) -> str:
    """The absolute URL of ``path`` under ``base_url``.

    People copy base URLs both with and without the API's version.  Where the end of the base's path and the
    beginning of ``path`` are the same segments, they are taken once: ``https://host/v1`` and
    ``/v1/chat/completions`` make ``https://host/v1/chat/completions``.
    """
    base_url = base_url.rstrip("/")
    segments = urlsplit(base_url).path.split("/")[1:]
    for start in range(len(segments)):
        shared = "/" + "/".join(segments[start:])
        if path.startswith(shared + "/"):
            return base_url + path.removeprefix(shared)
    return base_url + path


class RequestFile:
    """A file of requests.

    Args:
        path: the JSONL file.
        base_url: scheme, host and optional path that the lines' ``url`` is appended to.
        count_tokens: estimate each request's tokens, for a rate limit.

    Thread-safety: compatible.
    """

    def __init__(self, path: Path, base_url: str, *, count_tokens: bool) -> None:
        self._file: BinaryIO = path.open("rb", buffering=1 << 18)
        self._base_url = base_url
        self._count_tokens = count_tokens
        self._seen = IdSet()
        #: Bytes read so far.
        self.position = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, answered: Answered) -> Iterator[Job | Rejected | None]:
        """The requests in order, in constant memory.

        Yields ``None`` for a line that has its result, so that the caller keeps its turn while a resumed run
        skips a million of them.
        """
        number = 0
        while raw := self._file.readline(MAX_LINE):
            number += 1
            size = len(raw)
            too_long = size == MAX_LINE and not raw.endswith(b"\n")
            if too_long:
                size += self._skip_line()
            self.position += size
            if number == 1:
                raw = raw.removeprefix(_BOM)
            if not raw.strip():
                continue
            custom_id = None
            outcome: Job | Rejected | None
            try:
                if too_long:
                    raise _LineError("line_too_long", f"longer than {MAX_LINE} bytes")
                line = _parse(raw)
                custom_id = self._own_id(line)
                outcome = None if custom_id in answered.ids else self._job(custom_id, line, size)
            except _LineError as exc:
                outcome = Rejected(number, custom_id, exc.code, f"line {number}: {exc.message}", size)
                if custom_id is None and number in answered.lines:
                    outcome = None
            yield outcome

    def _skip_line(self) -> int:
        skipped = 0
        while rest := self._file.readline(1 << 20):
            skipped += len(rest)
            if rest.endswith(b"\n"):
                break
        return skipped

    def _own_id(self, line: dict[str, Any]) -> str:
        custom_id = line.get("custom_id")
        if not isinstance(custom_id, str) or not custom_id:
            raise _LineError("missing_custom_id", "custom_id must be a string that is not empty")
        if not self._seen.add(custom_id):
            raise _LineError("duplicate_custom_id", f"custom_id {custom_id!r} is taken by an earlier line; not sent")
        return custom_id

    def _job(self, custom_id: str, line: dict[str, Any], size: int) -> Job:
        method, path, body = line.get("method"), line.get("url"), line.get("body")
        if not isinstance(method, str) or method not in _METHODS:
            raise _LineError("invalid_request", f"method must be one of {', '.join(sorted(_METHODS))}")
        if not isinstance(path, str) or not path.startswith("/"):
            # An absolute URL is refused too: the run's credentials go to the base URL's host only.
            raise _LineError("invalid_request", "url must be a path that begins with '/'; the host is the base URL's")
        content = None
        tokens = 0
        if isinstance(body, dict):
            if body.get("stream"):
                raise _LineError("invalid_request", 'a batch cannot take streamed answers; remove "stream": true')
            try:
                content = _encode(body).encode()
            except (ValueError, RecursionError) as exc:  # 1e999 is read as infinity, which is no JSON
                raise _LineError("invalid_request", f"body cannot be sent as JSON: {exc}") from exc
            if self._count_tokens:
                tokens = _estimate_tokens(body, len(content))
        elif body is not None or method not in _BODILESS:
            raise _LineError("invalid_request", "body must be a JSON object")
        request = Request(method, join_url(self._base_url, path), headers=_HEADERS, content=content)
        return Job(custom_id, request, path, size, tokens)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        line = strict_json(raw.decode())
    except json.JSONDecodeError as exc:
        raise _LineError("invalid_json", f"{exc.msg} at column {exc.colno}") from exc
    except (ValueError, RecursionError) as exc:  # not UTF-8, NaN, a number of 5,000 digits; nested too deep
        raise _LineError("invalid_json", str(exc)) from exc
    if not isinstance(line, dict):
        raise _LineError("invalid_json", "not a JSON object")
    return line


def _estimate_tokens(body: dict[str, Any], size: int) -> int:
    """What servers charge before they know: a token per four characters, and the answer's bound."""
    bound = body.get("max_completion_tokens") or body.get("max_tokens")
    return size // 4 + (bound if isinstance(bound, int) and bound > 0 else 0)
