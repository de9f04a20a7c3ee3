"""The transports of httpx and httpx2: the packages differ in name only, so this is written once.

Neither package is imported here.  Their modules derive from these classes and from the package's own: one of the SDKs
on httpx2 refuses whatever inherits from anything of httpx.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, ClassVar

from offgil import _core
from offgil.adapters.package import Package
from offgil.adapters.settings import SocketOption, core_of
from offgil.async_port import AsyncioPort, Port, Ports
from offgil.async_stream import AsyncStreamResponse
from offgil.content import Body, iterable_body
from offgil.errors import OffgilError
from offgil.response import Response

__all__ = ["AsyncResponseStream", "AsyncTransport", "ResponseStream", "Transport"]


class BaseTransport:
    """What blocking and asynchronous transports have in common.

    Args:
        verify: whom to trust: ``True`` for the package's default, ``False`` for anyone, the path of a PEM bundle or of
            a directory, or an :class:`ssl.SSLContext`, of which is taken over what can be read from it.
        cert: the client's own certificate: a PEM file, (chain, key) or (chain, key, password).
        trust_env: let ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` replace the default authorities.
        http1: speak HTTP/1.1; ``False`` with ``http2`` speaks HTTP/2 without asking.
        http2: speak HTTP/2 where the server agrees to it.
        limits: the package's ``Limits``.
        proxy: URL or the package's ``Proxy``.
        uds: path of a Unix socket that every request goes to.
        local_address: the address to connect from.
        retries: how often to try again to connect, after 0, 0.5, 1, 2, … seconds.
        socket_options: for ``setsockopt``.

    Raises:
        ValueError: an argument makes no sense, contradicts another, or is beyond the linked libcurl.
        UnusableCertificate: the files of ``cert`` cannot be read or do not belong together.
        UnusableSSLContext: ``verify`` asks for what cannot be honoured.
    """

    package: ClassVar[Package]

    def __init__(
        self,
        verify: Any = True,
        cert: Any = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: Any = None,
        proxy: Any = None,
        uds: str | None = None,
        local_address: str | None = None,
        retries: int = 0,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> None:
        settings = {name: value for name, value in locals().items() if name not in ("self", "retries")}
        self._retries = retries
        self._core = core_of(self.package, **settings)

    def _body(self, request: Any) -> Body | None:
        stream = request.stream
        if isinstance(stream, self.package.module.ByteStream):
            return request.read() or None
        return iterable_body(stream, request.headers.get_list("content-length"))

    def _arguments(self, request: Any) -> tuple[Any, ...]:
        """The first arguments of the core's calls."""
        url = request.url
        if url.userinfo:
            url = url.copy_with(userinfo=b"")
        timeout = request.extensions.get("timeout") or {}
        get = timeout.get
        limits = (get("connect"), get("read"), get("write"), get("pool"), None)
        return request.method, str(url), request.headers.raw, self._body(request), limits, None

    def _response(self, head: Any, stream: Any) -> Any:
        extensions = {"http_version": head.http_version.encode()}
        if reason := head.reason_phrase:
            extensions["reason_phrase"] = reason.encode("latin-1")
        return self.package.module.Response(
            head.status_code, headers=head.raw_headers, stream=stream, extensions=extensions
        )


class Transport(BaseTransport):
    __doc__ = f"""A blocking transport.\n\n{(BaseTransport.__doc__ or "").partition("common.")[2]}"""

    def handle_request(self, request: Any) -> Any:
        """Send a request, on the calling thread and off the GIL, and return its answer with the body to be read."""
        try:
            stream = _core.Stream(self._core, *self._arguments(request))
        except OffgilError as error:
            raise self.package.error(error) from error
        return self._response(stream, self.package.stream(self.package, stream))

    def close(self) -> None:
        """End what runs, in any thread, and refuse further use.  Idempotent."""
        self._core.close()


class ResponseStream:
    """The body of a blocking answer.

    Thread-safety: compatible; a second thread that calls in at the same time gets a :class:`RuntimeError`.
    """

    def __init__(self, package: Package, stream: _core.Stream) -> None:
        self._package = package
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        try:
            while (piece := self._stream.next()) is not None:
                yield piece
        except OffgilError as error:
            raise self._package.error(error) from error

    def close(self) -> None:
        """Drop what is unread, with the connection if the answer is not over.  Idempotent."""
        self._stream.close()


class AsyncTransport(BaseTransport):
    """An asynchronous transport; see :class:`BaseTransport`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ports = Ports()

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request, on the transport's own thread, and return its answer with the body to be read."""
        try:
            port = self._port()
            stream = await port.outcome_of(port.submit(*self._arguments(request), True))
        except OffgilError as error:
            raise self.package.error(error) from error
        stream._attach(self, port)
        return self._response(stream, self.package.async_stream(self.package, stream))

    async def aclose(self) -> None:
        """End what runs, in every event loop, and refuse further use.  Idempotent."""
        loop = asyncio.get_running_loop()
        # Not here: libcurl may have to wait for a name look-up that hangs.
        await loop.run_in_executor(None, self._core.close)
        self._ports.leave(loop)

    def _port(self) -> Port:
        loop = asyncio.get_running_loop()
        port = self._ports.get(loop)
        if port is not None:
            return port
        return self._ports.open(self, self._core, loop, lambda: AsyncioPort(self._core, AsyncStreamResponse, loop))


class AsyncResponseStream:
    """The body of an asynchronous answer.

    Thread-safety: compatible; belongs to the event loop that opened it, and to one task at a time.
    """

    def __init__(self, package: Package, stream: AsyncStreamResponse) -> None:
        self._package = package
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while (piece := await self._stream._next()) is not None:
                yield piece
        except OffgilError as error:
            raise self._package.error(error) from error

    async def aclose(self) -> None:
        """Drop what is unread, with the connection if the answer is not over.  Idempotent."""
        self._stream._end()


_ = Response
