"""The arguments of an httpx transport as the core's configuration."""

from __future__ import annotations

import math
import os
import ssl
import struct
from collections.abc import Iterable
from typing import Any

from offgil import _core
from offgil.adapters.package import Package
from offgil.adapters.ssl_context import configure_context
from offgil.response import Response
from offgil.route import configure_route, configure_socket
from offgil.tls import configure_tls

__all__ = ["SocketOption", "core_of"]

#: Seconds; more than libcurl will ever see.
_FOREVER = 1 << 30

SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


def core_of(
    package: Package,
    *,
    verify: ssl.SSLContext | bool | str | os.PathLike[str],
    cert: Any,
    trust_env: bool,
    http1: bool,
    http2: bool,
    limits: Any,
    proxy: Any,
    uds: str | None,
    local_address: str | None,
    socket_options: Iterable[SocketOption] | None,
) -> _core.Client:
    """Return a client of the core for the arguments of :class:`offgil.adapters.common.AnyTransport`."""
    config = _core.Config()
    config.decode = False  # the package does that
    if isinstance(verify, ssl.SSLContext):
        configure_tls(config, True, cert, "1.2", None)
        configure_context(config, verify)
    else:
        configure_tls(config, _authorities(package, trust_env) if verify is True else verify, cert, "1.2", None)
    _configure_proxy(config, package, proxy, "prior-knowledge" if http2 and not http1 else http2, uds)
    configure_socket(config, local_address, [_option_value(option) for option in socket_options or ()])
    _configure_limits(config, package.module.Limits() if limits is None else limits)
    return _core.Client(config, Response)


def _authorities(package: Package, trust_env: bool) -> bool | str:
    names = ("SSL_CERT_FILE", "SSL_CERT_DIR") if trust_env else ()
    return next((value for name in names if (value := os.environ.get(name))), package.ca_file() or True)


def _configure_proxy(config: _core.Config, package: Package, proxy: Any, http2: Any, uds: str | None) -> None:
    if proxy is None:
        configure_route(config, http2, None, "", False, uds)
        return
    if not isinstance(proxy, package.module.Proxy):
        proxy = package.module.Proxy(proxy)
    if proxy.ssl_context is not None:
        raise ValueError("Proxy(ssl_context=…) cannot be had: proxies are checked as servers are, by verify=")
    url = proxy.url.copy_with(userinfo=b"") if proxy.url.userinfo else proxy.url
    configure_route(config, http2, str(url), "", False, uds, proxy.auth)
    for name, value in proxy.headers.raw:
        config.add_proxy_header(name, value)


def _option_value(option: SocketOption) -> tuple[int, int, bytes]:
    level, name, value, *size = option
    if isinstance(value, int):
        return level, name, struct.pack("@i", value)
    return level, name, bytes(size[0]) if value is None else bytes(value)


def _configure_limits(config: _core.Config, limits: Any) -> None:
    if limits.max_connections is not None:
        if limits.max_connections < 1:
            raise ValueError(f"max_connections={limits.max_connections}: must be at least 1, or None for no limit")
        config.max_connections = limits.max_connections
    if limits.max_keepalive_connections is not None:
        config.max_keepalive = limits.max_keepalive_connections
    expiry = limits.keepalive_expiry
    if expiry is None:
        config.set_longest_idle(_FOREVER)
    elif expiry <= 0:
        config.max_keepalive = 0
    else:
        # libcurl counts whole seconds, and means those that are over.
        config.set_longest_idle(min(math.ceil(expiry) - 1, _FOREVER))
