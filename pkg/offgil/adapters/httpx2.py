"""httpx2 over offgil: ``httpx2.Client(transport=HTTPTransport())``, ``httpx2.AsyncClient(transport=AsyncHTTPTransport())``."""

from __future__ import annotations

import httpx2

from offgil.adapters.package import Package
from offgil.adapters.transport import AsyncResponseStream, AsyncTransport, ResponseStream, Transport

__all__ = ["AsyncHTTPTransport", "HTTPTransport"]


class _Stream(ResponseStream, httpx2.SyncByteStream):
    pass


class _AsyncStream(AsyncResponseStream, httpx2.AsyncByteStream):
    pass


# As httpx2 itself, without an argument it trusts the system's authorities.
_PACKAGE = Package(httpx2, _Stream, _AsyncStream, lambda: "")


class HTTPTransport(Transport, httpx2.BaseTransport):
    """:class:`httpx2.HTTPTransport` over offgil; the arguments are those of :class:`Transport`.

    Thread-safety: safe on shared objects.
    """

    package = _PACKAGE


class AsyncHTTPTransport(AsyncTransport, httpx2.AsyncBaseTransport):
    """:class:`httpx2.AsyncHTTPTransport` over offgil, under asyncio and trio; arguments as of :class:`Transport`.

    Thread-safety: safe on shared objects.
    """

    package = _PACKAGE
