"""What a transport tells of the connection that an answer came over."""

from __future__ import annotations

from typing import Any

from offgil import _core

__all__ = ["NetworkStream", "TLSSession"]


class TLSSession:
    """The methods of :class:`ssl.SSLObject` that describe a connection.

    Thread-safety: safe on shared objects (immutable).
    """

    def __init__(self, version: str, cipher: tuple[str, str, int], alpn: str, certificate: bytes) -> None:
        self._version = version
        self._cipher = cipher
        self._alpn = alpn
        self._certificate = certificate

    def version(self) -> str:
        """``"TLSv1.3"``, for instance."""
        return self._version

    def cipher(self) -> tuple[str, str, int]:
        """The cipher's name, the version of TLS that defined it, and its bits."""
        return self._cipher

    def selected_alpn_protocol(self) -> str | None:
        """``"h2"``, ``"http/1.1"`` or ``None``."""
        return self._alpn or None

    def getpeercert(self, binary_form: bool = False) -> bytes | None:
        """Return the server's certificate in DER.

        Raises:
            NotImplementedError: it was asked for as a dict.
        """
        if not binary_form:
            raise NotImplementedError("the certificate is there in DER only: getpeercert(binary_form=True)")
        return self._certificate or None


class NetworkStream:
    """An answer's ``extensions["network_stream"]``.

    The bytes on the connection are the core's: there is no ``read`` and no ``write``, hence no upgrade to another
    protocol.

    Thread-safety: safe on shared objects (immutable).
    """

    __slots__ = ("_stream",)

    def __init__(self, stream: _core.Stream | _core.AsyncStream) -> None:
        self._stream = stream

    def get_extra_info(self, info: str) -> Any:
        """Return ``"client_addr"`` or ``"server_addr"`` as (address, port), ``"ssl_object"``; ``None`` for others.

        With a proxy the server's address is the proxy's.  Over a Unix socket there are no addresses, without TLS there
        is no ``ssl_object``, and the socket itself is never given away.
        """
        client, server, _, tls = self._stream.connection
        if info == "ssl_object" and tls is not None:
            version, cipher, protocol, bits, alpn, certificate = tls
            return TLSSession(version, (cipher, protocol, bits), alpn, certificate)
        address = {"client_addr": client, "server_addr": server}.get(info, ("", 0))
        return address if address[0] else None
