"""
Native core of offgil: HTTP on libcurl and result stores. Use the offgil package instead.
"""

class Response:
    """A complete response as the native core holds it."""

    @property
    def status_code(self) -> int: ...
    @property
    def reason_phrase(self) -> str: ...
    @property
    def http_version(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def content(self) -> bytes: ...
    @property
    def elapsed_seconds(self) -> float: ...
    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]: ...

class LibcurlInfo:
    """What the linked libcurl is and can do."""

    @property
    def version(self) -> str: ...
    @property
    def tls_backend(self) -> str: ...
    @property
    def features(self) -> list[str]: ...
    @property
    def protocols(self) -> list[str]: ...

def libcurl_info() -> LibcurlInfo:
    """Read the run-time libcurl's version and features."""

class Client:
    """Connections and defaults behind offgil.Client."""

    def __init__(
        self, default_headers: list[tuple[str, str]], verify: bool, ca_file: str, response_type: type[Response]
    ) -> None: ...
    def request(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]] | None,
        body: bytes | None,
        limits: tuple[float | None, float | None, float | None],
    ) -> Response:
        """Run one request to its end, detached."""

    def close(self) -> None:
        """Cancel every running call and refuse new ones."""

    @property
    def closed(self) -> bool: ...

class Batch:
    """Many requests at once on the calling thread."""

    def __init__(self, client: Client, connections: int) -> None: ...
    def add(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str]] | None,
        body: bytes | None,
        limits: tuple[float | None, float | None, float | None],
        tag: int,
    ) -> None:
        """Queue a request."""

    def wait(self, timeout: float | None) -> list[tuple[int, Response | Exception]]:
        """
        Drive all requests, detached, until one or more are complete or `timeout` seconds are over.
        """

    def close(self) -> None:
        """Drop what is in flight and end the connections."""
