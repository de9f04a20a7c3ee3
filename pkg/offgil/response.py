"""The answer to a request."""

from __future__ import annotations

import json as jsonlib
from datetime import timedelta
from email.message import Message
from typing import TYPE_CHECKING, Any, Protocol

from offgil import _core
from offgil.errors import HTTPStatusError
from offgil.headers import Headers
from offgil.request import Request
from offgil.stats import Timings

if TYPE_CHECKING:
    from offgil.stream import StreamResponse

__all__ = ["Head", "Response"]


class Head(Protocol):
    """What every kind of answer has before its body."""

    _history: Any

    @property
    def status_code(self) -> int: ...

    @property
    def http_version(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def headers(self) -> Headers: ...


class Response(_core.Response):
    """A complete answer.

    Attributes inherited from the native core: ``status_code``, ``reason_phrase``, ``http_version`` (``"HTTP/1.1"``),
    ``url`` and ``content`` (the decoded body as ``bytes``, made at the first access).  ``memoryview(response)``, and
    whatever takes a buffer, reads the body where it was received, without a copy.

    Thread-safety: safe on shared objects (immutable).
    """

    __slots__ = ("_headers", "_history", "_request")

    _headers: Headers
    _history: tuple[Response, ...]
    _request: Request

    @property
    def request(self) -> Request | None:
        """The :class:`Request` that :meth:`Client.map` was given; ``None`` for direct calls."""
        return getattr(self, "_request", None)

    @property
    def history(self) -> tuple[Response, ...]:
        """The answers that redirected to this one, oldest first."""
        return getattr(self, "_history", ())

    @property
    def headers(self) -> Headers:
        """The header fields: a case-insensitive mapping that keeps repeated ones."""
        try:
            return self._headers
        except AttributeError:
            # Two threads may both get here; either result will do.
            self._headers = Headers(self.raw_headers)
            return self._headers

    @property
    def text(self) -> str:
        """The body as text, in the charset of Content-Type, else UTF-8; undecodable bytes become U+FFFD."""
        return self.content.decode(charset_of(self.headers), errors="replace")

    def json(self) -> Any:
        """Parse the body as JSON (UTF-8, 16 or 32).

        Raises:
            json.JSONDecodeError: the body is not JSON.
        """
        return jsonlib.loads(self.content)

    @property
    def elapsed(self) -> timedelta:
        """The time from the start of the call to the last byte of the body."""
        return timedelta(seconds=self.elapsed_seconds)

    @property
    def timings(self) -> Timings:
        """When each phase was over."""
        return Timings(*self.raw_timings, self.elapsed_seconds)

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status_code <= 299

    def raise_for_status(self) -> Response:
        """Return this response if its status is below 400.

        Raises:
            HTTPStatusError: the status is 4xx or 5xx; it carries this response.
        """
        if self.status_code < 400:
            return self
        raise status_error(self, self.text, "the whole answer is in .response")

    def __repr__(self) -> str:
        return f"<Response [{self.status_code} {self.reason_phrase}]>"


def charset_of(headers: Headers) -> str:
    """Return the charset that Content-Type names, if Python knows it, else UTF-8."""
    message = Message()
    message["Content-Type"] = headers.get("content-type", "")
    charset = message.get_content_charset("utf-8")
    try:
        b" ".decode(charset, errors="replace")
    except (LookupError, ValueError):  # unknown, not for text, or not able to replace
        return "utf-8"
    return charset


def status_error(response: Response | StreamResponse, body: str, where: str) -> HTTPStatusError:
    """Return the error of an answer that is none to the caller; ``where`` says where the caller finds all of it."""
    what = {4: "client error", 5: "server error"}.get(response.status_code // 100, "no success:")
    return HTTPStatusError(
        f"{what} {response.status_code} {response.reason_phrase} for {response.url}: {body[:200]!r} ({where})",
        response=response,
    )
