"""What the transports of httpx and httpx2 have in common: the packages differ in name only, so this is written once.

Neither package is imported here.  Their modules derive from the transports and from the package's own classes: one of
the SDKs on httpx2 refuses whatever inherits from anything of httpx.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from offgil.adapters.network import NetworkStream
from offgil.adapters.package import Package
from offgil.adapters.settings import SocketOption, core_of
from offgil.adapters.trace import Tracer

__all__ = ["AnyTransport"]

#: Method, URL, headers, body, limits and token, as the core takes them.
Arguments = tuple[str, str, list[tuple[bytes, bytes]], Any, tuple[float | None, ...], None]


class AnyTransport:
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
        UnusableCertificate: the files of ``cert`` cannot be read or do not belong together, or ``verify`` is not there.
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
        self._uds = uds
        self._retries = retries
        self._core = core_of(
            self.package,
            verify=verify,
            cert=cert,
            trust_env=trust_env,
            http1=http1,
            http2=http2,
            limits=limits,
            proxy=proxy,
            uds=uds,
            local_address=local_address,
            socket_options=socket_options,
        )

    def _arguments(self, request: Any, body: Any) -> tuple[Arguments, bytes | None, str | None]:
        """The core's arguments up to the cancel token, and where the request goes if not where its URL says."""
        url, extensions = request.url, request.extensions
        text = str(url)
        if "@" in text and url.userinfo:
            url = url.copy_with(userinfo=b"")
            text = str(url)
        target = connect_to = None
        if "target" in extensions:
            target = extensions["target"]
            if not isinstance(target, bytes):
                target = str(target).encode()
        elif text.endswith("?"):  # libcurl drops an empty query
            target = url.raw_path
        if (name := extensions.get("sni_hostname")) and url.scheme == "https":
            connect_to = url.netloc.decode() + ("" if url.port else ":443")
            text = str(url.copy_with(host=name if isinstance(name, str) else name.decode()))
        get = (extensions.get("timeout") or {}).get
        limits = (get("connect"), get("read"), get("write"), get("pool"), None)
        return (request.method, text, request.headers.raw, body, limits, None), target, connect_to

    def _delay(self, attempts: int) -> float | None:
        """Seconds before another attempt to connect after so many in vain; ``None`` for no other."""
        if attempts > self._retries:
            return None
        return 0.5 * 2 ** (attempts - 2) if attempts > 1 else 0.0

    def _tracer(self, request: Any) -> Tracer | None:
        callback = request.extensions.get("trace")
        return None if callback is None else Tracer(callback, request, self._uds)

    def _response(self, stream: Any, network: NetworkStream, body: Any) -> Any:
        version, status, reason, headers = stream.head
        extensions = {"http_version": version, "network_stream": network}
        if reason:
            extensions["reason_phrase"] = reason
        return self.package.module.Response(status, headers=headers, stream=body, extensions=extensions)
