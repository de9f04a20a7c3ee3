"""A request as data, and how its parts are encoded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from offgil._core import CancelToken
from offgil.auth import BasicAuth, split_userinfo
from offgil.content import Content
from offgil.errors import InvalidURL
from offgil.timeouts import Timeout

__all__ = ["HeaderTypes", "ParamTypes", "Request", "RequestOptions"]

Scalar = str | int | float | bool | None
#: A value of ``None`` keeps the client's default of that name away.
HeaderTypes = Mapping[str, str | None] | Sequence[tuple[str, str | None]]
ParamTypes = Mapping[str, Scalar | Sequence[Scalar]] | Sequence[tuple[str, Scalar]]


class Unset:
    """The type of :data:`UNSET`."""


#: Marks a timeout that was not given, where ``None`` means no limit.
UNSET = Unset()

_SAFE_IN_URL = "/?#[]@!$&'()*+,;=:%~"
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class RequestOptions(TypedDict, total=False):
    """The keyword arguments that every request of a :class:`Client` takes; see :meth:`Client.request`."""

    params: ParamTypes | None
    headers: HeaderTypes | None
    json: Any
    content: Content | None
    timeout: Timeout | float | Unset | None
    deadline: float | Unset | None
    cancel: CancelToken | None
    follow_redirects: bool | None
    auth: BasicAuth | None


@dataclass(slots=True)
class Request:
    """What :meth:`Client.map` sends: the arguments of :meth:`Client.request` as one object.

    Thread-safety: compatible; do not change a request while it is being sent.
    """

    method: str
    url: str
    params: ParamTypes | None = None
    headers: HeaderTypes | None = None
    json: Any = None
    content: Content | None = None
    timeout: Timeout | float | Unset | None = UNSET
    deadline: float | Unset | None = UNSET
    cancel: CancelToken | None = None
    follow_redirects: bool | None = None
    auth: BasicAuth | None = None


class Encoded(NamedTuple):
    """A request as the native core takes it."""

    method: str
    url: str  # without credentials
    headers: list[tuple[str, str | None]] | None
    body: Any  # content.Body or None; a FedBody where an AsyncClient feeds it
    limits: tuple[float | None, ...]  # connect, read, write, pool and total seconds
    cancel: CancelToken | None


def encode_url(url: str, base_url: str, params: Sequence[tuple[str, str]]) -> str:
    """Return the absolute, percent-encoded URL.

    Args:
        url: absolute, or relative to ``base_url``, whose path it extends.
        base_url: empty, or without a trailing slash.
        params: appended to the query that ``url`` has already.
    """
    if base_url and not _ABSOLUTE.match(url):
        url = f"{base_url}/{url.lstrip('/')}" if url else base_url
    if not (url.isascii() and url.isprintable()) or " " in url:
        url = _quote(url)
    if params:
        head, hash_sign, fragment = url.partition("#")
        joint = "&" if "?" in head else "?"
        url = f"{head}{joint}{urlencode(params, quote_via=quote)}{hash_sign}{fragment}"
    return url


def _quote(url: str) -> str:
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in url):
        raise InvalidURL(f"{split_userinfo(url)[0]!r}: a URL cannot hold control characters; nothing was sent")
    parts = urlsplit(url)
    try:
        userinfo, at, host = parts.netloc.rpartition("@")
        netloc = quote(userinfo, safe=_SAFE_IN_URL) + at + host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise InvalidURL(
            f"{split_userinfo(url)[0]!r}: the host name is not valid ({error}); nothing was sent"
        ) from error
    return urlunsplit(
        (
            parts.scheme,
            netloc,
            quote(parts.path, safe=_SAFE_IN_URL),
            quote(parts.query, safe=_SAFE_IN_URL),
            quote(parts.fragment, safe=_SAFE_IN_URL),
        )
    )


def encode_params(params: ParamTypes | None) -> list[tuple[str, str]]:
    """Flatten query parameters to pairs of text; a sequence repeats its name."""
    if not params:
        return []
    items: Iterable[tuple[str, Any]] = params.items() if isinstance(params, Mapping) else params
    pairs: list[tuple[str, str]] = []
    for name, value in items:
        values = value if isinstance(value, (list, tuple)) else (value,)
        pairs.extend((str(name), _text(item)) for item in values)
    return pairs


def _text(value: Scalar) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def encode_headers(headers: HeaderTypes | None) -> list[tuple[str, str | None]]:
    """Return headers as a list of pairs; the core checks their bytes."""
    if not headers:
        return []
    return list(headers.items() if isinstance(headers, Mapping) else headers)
