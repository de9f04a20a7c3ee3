"""The arguments of an httpx transport as the core's configuration."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterable
from typing import Any

from offgil import _core
from offgil.adapters.package import Package
from offgil.response import Response
from offgil.route import configure_route
from offgil.tls import configure_tls

__all__ = ["SocketOption", "core_of"]

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
    """Return a client of the core for the arguments of :class:`offgil.adapters.transport.BaseTransport`."""
    config = _core.Config()
    config.decode = False
    if verify is True:
        verify = (trust_env and (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"))) or (
            package.ca_file() or True
        )
    configure_tls(config, verify, cert, "1.2", None)
    configure_route(config, "prior-knowledge" if http2 and not http1 else http2, None, "", False, uds)
    if limits is not None:
        if limits.max_connections is not None:
            config.max_connections = limits.max_connections
        if limits.max_keepalive_connections is not None:
            config.max_keepalive = limits.max_keepalive_connections
    return _core.Client(config, Response)
