"""What the blocking and the asyncio client have in common: configuration, and how a request is encoded by it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from http.cookiejar import CookieJar
from typing import Any, Self, TypeVar

from offgil import __version__, _core
from offgil.hooks import Hook
from offgil.request import (
    UNSET,
    Content,
    Encoded,
    HeaderTypes,
    ParamTypes,
    Unset,
    encode_body,
    encode_headers,
    encode_params,
    encode_url,
)
from offgil.response import Response
from offgil.retry import Retry
from offgil.stats import ClientStats
from offgil.timeouts import Timeout, check_seconds, limits_of

__all__ = ["BaseClient"]

#: More than any API answers in one piece, and less than what ends a process when a hostile server sends it.
MAX_RESPONSE_BYTES = 1 << 30


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

    Raises:
        ValueError: a limit is out of its range.
    """

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
        verify: bool | str = True,
        max_response_bytes: int | None = MAX_RESPONSE_BYTES,
        follow_redirects: bool = False,
        max_redirects: int = 20,
        cookies: bool | CookieJar = False,
        hooks: Sequence[Hook] = (),
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
        self._is_direct = self._is_plain(retry, follow_redirects)
        self._retries = 0
        self._retries_lock = threading.Lock()
        config = _core.Config()
        defaults = [(name, value) for name, value in encode_headers(headers) if value is not None]
        given = {name.lower() for name, _ in defaults}
        for name, value in (("Accept", "*/*"), ("User-Agent", f"offgil/{__version__}")):
            if name.lower() not in given:
                defaults.append((name, value))
        self._default_headers = defaults
        for name, value in defaults:
            config.add_header(name, value)
        config.verify = bool(verify)
        if isinstance(verify, str):
            config.ca_file = verify
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
    ) -> tuple[Encoded, bool]:
        fields = encode_headers(headers)
        body = encode_body(json, content, fields)
        pairs = self._params if params is None else self._params + encode_params(params)
        *phases, total = self._default_limits
        if not isinstance(deadline, Unset):
            check_seconds("deadline", deadline)
            total = deadline
        if not isinstance(timeout, Unset):
            phases[:] = limits_of(timeout)
        url = encode_url(url, self._base_url, pairs)
        follow = self._follow_redirects if follow_redirects is None else follow_redirects
        return Encoded(method, url, fields or None, body, (*phases, total), cancel), follow

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
