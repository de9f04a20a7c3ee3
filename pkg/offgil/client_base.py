"""What the blocking and the asyncio client have in common: configuration, and how a request is encoded by it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from http.cookiejar import CookieJar
from operator import attrgetter
from typing import Any, Self, TypeVar

from offgil import __version__, _core
from offgil.auth import BasicAuth, basic_header, split_userinfo
from offgil.content import AsyncIterableBody, Content, encode_body
from offgil.hooks import Hook
from offgil.request import (
    UNSET,
    Encoded,
    HeaderTypes,
    ParamTypes,
    Request,
    Unset,
    encode_headers,
    encode_params,
    encode_url,
)
from offgil.response import Response
from offgil.retry import Retry
from offgil.route import Http2, configure_route
from offgil.stats import ClientStats
from offgil.timeouts import Timeout, check_seconds, limits_of
from offgil.tls import CertTypes, configure_tls

__all__ = ["BaseClient"]

#: More than any API answers in one piece, and less than what ends a process when a hostile server sends it.
MAX_RESPONSE_BYTES = 1 << 30


# In the order in which BaseClient._encode takes them.
_arguments = attrgetter(*(field.name for field in fields(Request)))


class BaseClient:
    """Configuration of :class:`Client` and :class:`AsyncClient`.

    Args:
        base_url: prefix of relative URLs.
        headers: sent with every request, unless the request gives the same name.
        params: query parameters of every request.
        timeout: limits in seconds; see :class:`Timeout`.
        deadline: seconds for a request as a whole, from the call to the last byte, attempts and pauses included;
            ``None`` for no limit.
        retry: when a failed request is sent again; ``None`` for never.
        max_connections: calls that run at one time; more wait, up to the ``pool`` timeout.  An idle connection counts
            and makes room.
        max_keepalive: idle connections kept.
        verify: check certificates against the system's authorities; a path names a PEM bundle; ``False`` trusts anyone.
        max_response_bytes: bound on a decoded body, above which :class:`ResponseTooLarge` is raised; ``None`` for none.
        follow_redirects: go where an answer redirects, as httpx does; credentials are shown to no other origin.
            ``response.history`` holds the answers on the way.
        max_redirects: how often for one call, before :class:`TooManyRedirects` is raised.
        cookies: ``True`` keeps cookies in a jar of the client's, a :class:`http.cookiejar.CookieJar` in that one.
        hooks: told of every attempt; see :class:`Hook`.
        cert: the client's own certificate, for servers that ask: the path of a PEM file with chain and key, or a tuple
            (chain, key) or (chain, key, password).
        tls_min: the oldest version of TLS to speak, ``"1.0"`` to ``"1.3"``.
        tls_max: the newest; ``None`` for the newest there is.
        http2: ``True`` speaks HTTP/2 with servers that choose it during the TLS handshake, ``"prior-knowledge"`` with
            every server, also without TLS.
        proxy: ``"scheme://user:password@host:port"`` with the scheme ``http``, ``https``, ``socks5`` (names are looked
            up here) or ``socks5h`` (by the proxy).  The environment's are ignored then.
        no_proxy: hosts that are asked directly, as a sequence or joined with commas: names, which cover their
            subdomains, addresses, networks (``"10.0.0.0/8"``), each with or without a ``:port``; ``"*"`` for all.
        trust_env: take what is not given from ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` in the
            environment, in upper case, too, but for ``HTTP_PROXY``; read when the client is made.
        uds: path of a Unix socket that every request goes to, whatever its URL's host.
        auth: (user, password), sent to every server by basic authentication, unless a request has its own, by
            argument, header or URL.

    Raises:
        ValueError: an argument is out of its range, or beyond what the linked libcurl can do.
        UnusableCertificate: the files of ``cert`` cannot be read or do not belong together, or ``verify`` is not there.
    """

    #: Whether a request's body may be an asynchronous iterable.
    _reads_asynchronously = False

    def __init__(
        self,
        *,
        base_url: str = "",
        headers: HeaderTypes | None = None,
        params: ParamTypes | None = None,
        timeout: Timeout | float | None = Timeout(),  # noqa: B008 (immutable)
        deadline: float | None = None,
        retry: Retry | None = None,
        max_connections: int | None = None,
        max_keepalive: int = 256,
        verify: bool | str | os.PathLike[str] = True,
        max_response_bytes: int | None = MAX_RESPONSE_BYTES,
        follow_redirects: bool = False,
        max_redirects: int = 20,
        cookies: bool | CookieJar = False,
        hooks: Sequence[Hook] = (),
        cert: CertTypes | None = None,
        tls_min: str = "1.2",
        tls_max: str | None = None,
        http2: Http2 = False,
        proxy: str | None = None,
        no_proxy: str | Sequence[str] | None = None,
        trust_env: bool = True,
        uds: str | os.PathLike[str] | None = None,
        auth: BasicAuth | None = None,
    ) -> None:
        self._configuration = {name: value for name, value in locals().items() if name != "self"}
        if max_response_bytes is not None and max_response_bytes < 0:
            raise ValueError(f"max_response_bytes={max_response_bytes}: must be 0 or more, or None for no bound")
        if max_connections is not None and max_connections < 1:
            raise ValueError(f"max_connections={max_connections}: must be at least 1, or None for no limit")
        if max_keepalive < 0:
            raise ValueError(f"max_keepalive={max_keepalive}: must be at least 0")
        check_seconds("deadline", deadline)
        self._base_url = base_url.rstrip("/")
        self._params = encode_params(params)
        self._default_limits = (*limits_of(timeout), deadline)
        self._retry = retry
        self._follow_redirects = follow_redirects
        self._max_redirects = max_redirects
        self._cookies = CookieJar() if cookies is True else None if cookies is False else cookies
        self._hooks = tuple(hooks)
        self._is_direct = self._is_plain(retry, follow_redirects) and "@" not in base_url
        self._retries = 0
        self._retries_lock = threading.Lock()
        config = _core.Config()
        defaults = [(name, value) for name, value in encode_headers(headers) if value is not None]
        given = {name.lower() for name, _ in defaults}
        for name, value in (("Accept", "*/*"), ("User-Agent", f"offgil/{__version__}")):
            if name.lower() not in given:
                defaults.append((name, value))
        if auth is not None:
            defaults = [(name, value) for name, value in defaults if name.lower() != "authorization"]
            defaults.append(basic_header(auth))
        self._default_headers = defaults
        for name, value in defaults:
            config.add_header(name, value)
        configure_tls(config, verify, cert, tls_min, tls_max)
        configure_route(config, http2, proxy, no_proxy, trust_env, uds)
        if max_connections is not None:
            config.max_connections = max_connections
        config.max_keepalive = max_keepalive
        if max_response_bytes is not None:
            config.max_response_bytes = max_response_bytes
        self._core = _core.Client(config, Response)

    def _encode(
        self,
        method: str,
        url: str,
        params: ParamTypes | None = None,
        headers: HeaderTypes | None = None,
        json: Any = None,
        content: Content | None = None,
        timeout: Timeout | float | Unset | None = UNSET,
        deadline: float | Unset | None = UNSET,
        cancel: _core.CancelToken | None = None,
        follow_redirects: bool | None = None,
        auth: BasicAuth | None = None,
    ) -> tuple[Encoded, bool]:
        fields = encode_headers(headers)
        body = encode_body(json, content, fields, asynchronous=self._reads_asynchronously)
        pairs = self._params if params is None else self._params + encode_params(params)
        limits = self._default_limits
        if not isinstance(timeout, Unset):
            limits = (*limits_of(timeout), limits[4])
        if not isinstance(deadline, Unset):
            check_seconds("deadline", deadline)
            limits = (*limits[:4], deadline)
        url, userinfo = split_userinfo(encode_url(url, self._base_url, pairs))
        if auth is not None:
            fields = [field for field in fields if field[0].lower() != "authorization"]
            fields.append(basic_header(auth))
        elif userinfo is not None and not any(name.lower() == "authorization" for name, _ in fields):
            fields.append(basic_header(userinfo))
        follow = self._follow_redirects if follow_redirects is None else follow_redirects
        return Encoded(method, url, fields or None, body, limits, cancel), follow

    def _encode_request(self, request: Request) -> tuple[Encoded, bool]:
        encoded, follow = self._encode(*_arguments(request))
        if isinstance(encoded.body, AsyncIterableBody):
            raise TypeError("map takes no asynchronous iterable as content; give bytes or a file, or call request")
        return encoded, follow

    def _is_plain(self, retry: Retry | None, follow: bool) -> bool:
        """Whether a call is one request to the core and nothing else."""
        return retry is None and not follow and self._cookies is None and not self._hooks

    @property
    def cookies(self) -> CookieJar | None:
        """The jar, which locks by itself; ``None`` without one."""
        return self._cookies

    def stats(self) -> ClientStats:
        """Counters since the client was made, in this process."""
        return ClientStats(retries=self._retries, **self._core.counts())

    def _count_retry(self) -> None:
        with self._retries_lock:
            self._retries += 1

    def __reduce__(self) -> tuple[Callable[[type[Self], dict[str, Any]], Self], tuple[type[Self], dict[str, Any]]]:
        return _from_configuration, (type(self), self._configuration)


C = TypeVar("C", bound=BaseClient)


def _from_configuration(cls: type[C], configuration: dict[str, Any]) -> C:
    return cls(**configuration)
