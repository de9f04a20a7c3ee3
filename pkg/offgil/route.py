"""By what way a client's requests go: proxies, Unix socket, version of HTTP."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal
from urllib.parse import unquote, urlsplit

from offgil import _core

__all__ = ["Http2", "configure_route", "configure_socket"]

Http2 = bool | Literal["prior-knowledge"]
Proxy = tuple[str, str, str]  # URL, user, password

_SCHEMES = ("http", "https", "socks5", "socks5h")
#: What fits into a sockaddr_un, its closing NUL left out.
_LONGEST_SOCKET_PATH = 107


def configure_route(
    config: _core.Config,
    http2: Http2,
    proxy: str | None,
    no_proxy: str | Sequence[str] | None,
    trust_env: bool,
    uds: str | os.PathLike[str] | None,
    proxy_auth: tuple[str, str] | None = None,
) -> None:
    """Check the arguments of :class:`BaseClient` and hand them to ``config``.

    Raises:
        ValueError: an argument makes no sense, contradicts another, or is beyond the linked libcurl.
    """
    config.set_http_version(_http_version(http2))
    if uds is not None:
        if proxy is not None:
            raise ValueError("give either uds= or proxy=: there is no way through both")
        config.set_unix_socket(_socket_path(os.fspath(uds)))
        return
    environment: Mapping[str, str] = os.environ if trust_env and proxy is None else {}
    given = None if proxy is None else parse_proxy(proxy, "proxy")
    if given is not None and proxy_auth is not None:
        given = (given[0], *proxy_auth)
    for_http, for_https = (given, given) if given else proxies_of(environment)
    exempt = _variable(environment, "no_proxy", "NO_PROXY")[1] if no_proxy is None else no_proxy
    config.set_proxies(for_http, for_https, exempt if isinstance(exempt, str) else ",".join(exempt))


def configure_socket(
    config: _core.Config, local_address: str | None, options: Iterable[tuple[int, int, bytes]]
) -> None:
    """Hand what sockets are set to before they are connected to ``config``.

    Raises:
        ValueError: the address is none.
    """
    if local_address is not None:
        config.set_local_address(str(ipaddress.ip_address(local_address)))
    for level, name, value in options:
        config.add_socket_option(level, name, value)


def proxies_of(environment: Mapping[str, str]) -> tuple[Proxy | None, Proxy | None]:
    """Return the proxies for ``http`` and for ``https`` URLs that the environment names.

    As with curl, ``HTTP_PROXY`` counts for nothing: in a CGI program it is the request's ``Proxy`` header.
    """

    def proxy_for(*names: str) -> Proxy | None:
        name, url = _variable(environment, *names, "all_proxy", "ALL_PROXY")
        return parse_proxy(url if "://" in url else f"http://{url}", name) if url else None

    return proxy_for("http_proxy"), proxy_for("https_proxy", "HTTPS_PROXY")


def _variable(environment: Mapping[str, str], *names: str) -> tuple[str, str]:
    """The first of ``names`` that is not empty, and its value."""
    return next(((name, environment[name]) for name in names if environment.get(name)), ("", ""))


def parse_proxy(url: str, source: str) -> Proxy:
    """Split a proxy's URL into one without credentials, user and password.

    Raises:
        ValueError: the URL names no proxy; the message names ``source`` and never the password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"{source}: not a URL (credentials must be percent-encoded)") from None
    host = parts.hostname or ""
    if parts.scheme not in _SCHEMES or not host or not host.isascii() or not host.isprintable() or " " in host:
        raise ValueError(
            f'{source}: must be "scheme://[user:password@]host[:port]", scheme one of {", ".join(_SCHEMES)}'
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{source}: a proxy's URL ends with its port")
    if parts.scheme == "https":
        require_feature("HTTPS-proxy", source)
    if port is None:
        port = {"http": 80, "https": 443}.get(parts.scheme, 1080)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not (user + password).isprintable():
        raise ValueError(f"{source}: credentials cannot hold control characters")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}", user, password


def _http_version(http2: Http2) -> _core.HttpVersion:
    if http2 is False:
        return _core.HttpVersion.HTTP1
    if http2 is not True and http2 != "prior-knowledge":
        raise ValueError(f'http2={http2!r}: must be True, False or "prior-knowledge"')
    require_feature("HTTP2", f"http2={http2!r}")
    return _core.HttpVersion.NEGOTIATE if http2 is True else _core.HttpVersion.HTTP2


def _socket_path(path: str) -> str:
    require_feature("UnixSockets", "uds")
    if not path or "\0" in path or len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"uds={path!r}: must be a path of 1 to {_LONGEST_SOCKET_PATH} bytes without NUL")
    return path


def require_feature(feature: str, argument: str) -> None:
    """Raise :class:`ValueError` unless the linked libcurl was built with ``feature``."""
    info = _core.libcurl_info()
    if feature not in info.features:
        raise ValueError(f"{argument}: the linked libcurl {info.version} was built without {feature}")
