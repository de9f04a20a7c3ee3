"""Basic authentication (RFC 7617), given by argument or with a URL."""

from __future__ import annotations

import re
from base64 import b64encode
from urllib.parse import unquote

__all__ = ["BasicAuth", "basic_header", "split_userinfo"]

BasicAuth = tuple[str, str]

_AUTHORITY = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<userinfo>[^/?#]*)@")


def basic_header(auth: BasicAuth) -> tuple[str, str]:
    """Return the ``Authorization`` header for a user and a password, in UTF-8.

    Raises:
        ValueError: RFC 7617 cannot transport them; the message shows neither.
    """
    user, password = auth
    if ":" in user:
        raise ValueError("auth: a user name with a colon cannot be told from its password")
    if not all(c >= " " and c != "\x7f" for c in user + password):
        raise ValueError("auth: user and password cannot hold control characters")
    return "Authorization", f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def split_userinfo(url: str) -> tuple[str, BasicAuth | None]:
    """Split an absolute URL into one that can be shown, and the user and password that were in it, if any."""
    found = _AUTHORITY.match(url) if "@" in url else None
    if found is None:
        return url, None
    user, _, password = found["userinfo"].partition(":")
    shown = found["scheme"] + url[found.end() :]
    return shown, (unquote(user), unquote(password)) if found["userinfo"] else None
