"""Cookies, in the standard library's jar."""

from __future__ import annotations

from email.message import Message
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, cast
from urllib.request import Request as URLRequest

from offgil.request import Encoded

if TYPE_CHECKING:
    from http.client import HTTPResponse

    from offgil.response import Head

__all__ = ["keep_cookies", "with_cookies"]

# http.cookiejar asks for urllib's classes, but only for what the two below have.  The jar locks by itself.


def with_cookies(jar: CookieJar, sent: Encoded) -> Encoded:
    """Return the request with the jar's cookies for its URL, unless it has a Cookie header of its own.

    Thread-safety: safe on shared objects.
    """
    headers = sent.headers or []
    if any(name.lower() == "cookie" for name, _ in headers):
        return sent
    request = URLRequest(sent.url, method=sent.method)
    jar.add_cookie_header(request)
    cookie = request.get_header("Cookie")
    return sent if cookie is None else sent._replace(headers=[*headers, ("Cookie", cookie)])


def keep_cookies(jar: CookieJar, sent: Encoded, response: Head) -> None:
    """Put into the jar what ``response``, the answer to ``sent``, sets.

    Thread-safety: safe on shared objects.
    """
    lines = response.headers.get_list("set-cookie")
    if not lines:
        return
    message = Message()
    for line in lines:
        message["Set-Cookie"] = line
    jar.extract_cookies(cast("HTTPResponse", _Answer(message)), URLRequest(sent.url, method=sent.method))


class _Answer:
    def __init__(self, message: Message) -> None:
        self._message = message

    def info(self) -> Message:
        return self._message
