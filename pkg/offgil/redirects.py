"""Which request follows an answer that redirects.

The method and the headers change as they do in httpx; more is left out when another origin is asked.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from offgil.errors import RemoteProtocolError
from offgil.request import Encoded, encode_url

if TYPE_CHECKING:
    from offgil.response import Head

__all__ = ["redirected"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}

#: Names under which APIs are given credentials.  No other origin sees them.
CREDENTIALS = frozenset(
    {
        "authorization",
        "cookie",
        "proxy-authorization",
        "api-key",
        "x-api-key",
        "x-auth-token",
        "x-goog-api-key",
    }
)
_OF_THE_BODY = frozenset(
    {"content-encoding", "content-language", "content-length", "content-location", "content-type", "transfer-encoding"}
)


def redirected(sent: Encoded, response: Head, defaults: list[tuple[str, str]]) -> Encoded | None:
    """Return the request that ``response`` asks for; ``None`` if it does not redirect.

    Args:
        sent: what it is the answer to.
        response: the answer.
        defaults: the headers that the client adds to every request.

    Raises:
        RemoteProtocolError: its Location is no URL.

    Thread-safety: safe on shared objects.
    """
    location = response.headers.get("location")
    if location is None or response.status_code not in _REDIRECTS:
        return None
    try:
        url, same_origin = _target(sent.url, location)
    except ValueError as error:
        raise RemoteProtocolError(
            f"{sent.method} {response.url}: the server redirects to {location!r}, which is no URL ({error})"
        ) from error
    method = _method(sent.method, response.status_code)
    dropped = set() if method == sent.method else set(_OF_THE_BODY)
    headers = list(sent.headers or ())
    if not same_origin:
        dropped |= {*CREDENTIALS, "host"}
        # A name without a value keeps the client's default away.
        headers += [(name, None) for name, _ in defaults if name.lower() in dropped]
    kept = [(name, value) for name, value in headers if value is None or name.lower() not in dropped]
    body = sent.body if method == sent.method else None
    return sent._replace(method=method, url=url, headers=kept or None, body=body)


def _method(method: str, status: int) -> str:
    becomes_get = method == "POST" if status == 301 else status in {302, 303} and method != "HEAD"
    return "GET" if becomes_get else method


def _target(url: str, location: str) -> tuple[str, bool]:
    """The URL that is meant, and whether it may be shown the credentials for ``url``."""
    with contextlib.suppress(UnicodeDecodeError):
        location = location.encode("latin-1").decode()  # Headers reads bytes as Latin-1, servers send UTF-8
    old = urlsplit(url)
    new = urlsplit(urljoin(url, location))
    if not new.hostname:
        raise ValueError("it names no host")
    # Credentials that the server chose are not ours to send.
    new = new._replace(netloc=new.netloc.rpartition("@")[2])
    if not new.fragment:
        new = new._replace(fragment=old.fragment)
    upgrade = old.hostname == new.hostname and (_origin(old)[::2], _origin(new)[::2]) == (("http", 80), ("https", 443))
    return encode_url(urlunsplit(new), "", ()), upgrade or _origin(old) == _origin(new)


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _DEFAULT_PORTS.get(url.scheme)
