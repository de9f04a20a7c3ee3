"""httpx over offgil: ``httpx.Client(transport=HTTPTransport())``, and the same with ``Async`` before each name."""

from __future__ import annotations

import certifi
import httpx

from offgil.adapters.async_transport import AsyncResponseStream, AsyncTransport
from offgil.adapters.package import Package
from offgil.adapters.transport import ResponseStream, Transport

__all__ = ["AsyncHTTPTransport", "HTTPTransport"]


class _Stream(ResponseStream, httpx.SyncByteStream):
    pass


class _AsyncStream(AsyncResponseStream, httpx.AsyncByteStream):
    pass


# As httpx itself, without an argument it trusts certifi's authorities.
_PACKAGE = Package(httpx, _Stream, _AsyncStream, certifi.where)


class HTTPTransport(Transport, httpx.BaseTransport):
    """:class:`httpx.HTTPTransport` over offgil; for the arguments see :class:`~offgil.adapters.common.AnyTransport`.

    Thread-safety: safe on shared objects.
    """

    package = _PACKAGE


class AsyncHTTPTransport(AsyncTransport, httpx.AsyncBaseTransport):
    """:class:`httpx.AsyncHTTPTransport` over offgil, under asyncio and trio; arguments as above.

    Thread-safety: safe on shared objects.
    """

    package = _PACKAGE
