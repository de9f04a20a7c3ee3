"""httpx2 over offgil: ``httpx2.Client(transport=HTTPTransport())``, and the same with ``Async`` before each name."""

from __future__ import annotations

import httpx2

from offgil.adapters.async_transport import AsyncResponseStream, AsyncTransport
from offgil.adapters.package import Package
from offgil.adapters.transport import ResponseStream, Transport

__all__ = ["AsyncHTTPTransport", "HTTPTransport"]


class _Stream(ResponseStream, httpx2.SyncByteStream):
    pass


class _AsyncStream(AsyncResponseStream, httpx2.AsyncByteStream):
    pass


# As httpx2 itself, without an argument it trusts the system's authorities.
_PACKAGE = Package(httpx2, _Stream, _AsyncStream, lambda: "")


class HTTPTransport(Transport, httpx2.BaseTransport):
    """:class:`httpx2.HTTPTransport` over offgil; for the arguments see :class:`~offgil.adapters.common.AnyTransport`.

    Thread-safety: safe on shared objects.
    """

    package = _PACKAGE


class AsyncHTTPTransport(AsyncTransport, httpx2.AsyncBaseTransport):
    """:class:`httpx2.AsyncHTTPTransport` over offgil, under asyncio and trio; arguments as above.

    Thread-safety: safe on shared objects.
    """

    package = _PACKAGE
