"""
Native core of offgil: HTTP on libcurl and result stores. Use the offgil package instead.
"""

import enum
from collections.abc import Iterable, Iterator
from typing import Any

class HeldMemory:
    """
    Memory of a managed-dict store that stays in place while a buffer on it lives.
    """

    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __release_buffer__(self, buffer: memoryview, /) -> None: ...

class ManagedStats:
    """Counters of a managed-dict store."""

    @property
    def entries(self) -> int: ...
    @property
    def bytes_used(self) -> int: ...
    @property
    def bytes_limit(self) -> int: ...
    @property
    def puts(self) -> int: ...
    @property
    def takes(self) -> int: ...
    @property
    def waiters(self) -> int: ...
    @property
    def entries_limit(self) -> int: ...
    @property
    def blocked(self) -> int: ...
    @property
    def expired(self) -> int: ...
    @property
    def evicted(self) -> int: ...
    @property
    def processes(self) -> int: ...
    @property
    def repairs(self) -> int: ...
    @property
    def memory_used(self) -> int: ...

class ManagedStore:
    """A table in shared memory; use offgil.store.ManagedDictStore instead."""

    @staticmethod
    def create(
        max_bytes: int, max_entries: int, on_full: int, named_fd: int, encode: object, decode: object
    ) -> ManagedStore: ...
    @staticmethod
    def attach(fd: int, encode: object, decode: object) -> ManagedStore: ...
    def put(
        self,
        key: str,
        value: Any,
        ttl: float | None,
        priority: int,
        topic: str | None,
        if_absent: bool,
        timeout: float | None,
    ) -> bool: ...
    def put_exception(
        self,
        key: str,
        encoded: tuple[int, list[Any]],
        ttl: float | None,
        priority: int,
        topic: str | None,
        timeout: float | None,
    ) -> None: ...
    def reserve(self, key: str, nbytes: int, timeout: float | None) -> HeldMemory: ...
    def commit(
        self, memory: HeldMemory, key: str, ttl: float | None, priority: int, topic: str | None, timeout: float | None
    ) -> bool: ...
    def get(self, key: str) -> Any: ...
    def wait(self, key: str, consume: bool, timeout: float | None, missing: Any, raises: bool) -> Any: ...
    def take(
        self, topic: str | None, timeout: float | None, missing: None, claim: memoryview | None = None
    ) -> tuple[str, Any] | None: ...
    def view(self, key: str) -> tuple[int, memoryview]: ...
    def remove(self, key: str) -> None: ...
    def contains(self, key: str) -> bool: ...
    def keys(self) -> list[str]: ...
    def snapshot(self) -> list[tuple[Any, ...]]: ...
    def processes(self) -> list[int]: ...
    def clear(self) -> None: ...
    def close(self) -> None: ...
    def shut_down(self) -> None: ...
    def stats(self) -> ManagedStats: ...
    def fileno(self) -> int: ...
    def __len__(self) -> int: ...
    @property
    def closed(self) -> bool: ...

class ManagedWatch:
    """One sleep for many keys; use ManagedDictStore.as_completed instead."""

    def __init__(self, store: ManagedStore) -> None: ...
    def add(self, key: str) -> None: ...
    def discard(self, key: str) -> None: ...
    def next(self, timeout: float | None) -> list[str] | None: ...
    def stop(self) -> None: ...
    def __len__(self) -> int: ...

class Response:
    """A complete response as the native core holds it."""

    def __buffer__(self, flags: int, /) -> memoryview: ...
    @property
    def status_code(self) -> int: ...
    @property
    def reason_phrase(self) -> str: ...
    @property
    def http_version(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def content(self) -> bytes: ...
    @property
    def elapsed_seconds(self) -> float: ...
    @property
    def raw_timings(self) -> tuple[float, float, float, float]: ...

class FileBody:
    """A regular file as the body of one request at a time."""

    def __init__(self, descriptor: int, offset: int, size: int, path: str) -> None:
        """Read `size` bytes from `offset`; the descriptor is duplicated."""

class IterableBody:
    """An iterable of bytes as the body of one request at a time."""

    def __init__(self, iterable: Iterable[bytes | bytearray | memoryview], size: int | None) -> None:
        """
        Send what `iterable` yields; `size` is how many bytes that must be, None for any number.
        """

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent more than once: an iterator cannot."""

class HttpVersion(enum.Enum):
    """Which versions of HTTP a client speaks."""

    HTTP1 = 0
    """1.1 always"""

    NEGOTIATE = 1
    """HTTP/2 where TLS' ALPN agrees on it"""

    HTTP2 = 2
    """HTTP/2 without asking, also without TLS"""

class Config:
    """What all requests of one client share; copied by Client."""

    def __init__(self) -> None: ...
    def add_header(self, name: str, value: str) -> None:
        """Send a header with every request that does not give the same name."""

    @property
    def max_connections(self) -> int: ...
    @max_connections.setter
    def max_connections(self, arg: int, /) -> None: ...
    @property
    def max_keepalive(self) -> int: ...
    @max_keepalive.setter
    def max_keepalive(self, arg: int, /) -> None: ...
    @property
    def max_response_bytes(self) -> int: ...
    @max_response_bytes.setter
    def max_response_bytes(self, arg: int, /) -> None: ...
    @property
    def decode(self) -> bool:
        """Ask for compressed bodies and unpack them."""

    @decode.setter
    def decode(self, arg: bool, /) -> None: ...
    def set_authorities(self, verify: bool, ca_file: str) -> None:
        """Whom to trust; an empty file stands for the system's."""

    def set_verification(self, check_hostname: bool, flags: int, ca_pem: str) -> None:
        """
        How: `flags` as ssl.VerifyFlags, `ca_pem` in place of a file if it is not empty.
        """

    def set_certificate(self, cert_file: str, key_file: str, password: str) -> None:
        """Show this certificate to servers that ask; reads both files."""

    def set_tls_versions(self, lowest: int, highest: int) -> None:
        """Bounds as ten times the version; 0 for no highest."""

    def set_proxies(
        self, for_http: tuple[str, str, str] | None, for_https: tuple[str, str, str] | None, no_proxy: str
    ) -> None:
        """Each as URL, user and password."""

    def add_proxy_header(self, name: bytes, value: bytes) -> None:
        """Send a header to proxies only."""

    def set_local_address(self, address: str) -> None:
        """Connect from there."""

    def add_socket_option(self, level: int, name: int, value: bytes) -> None:
        """For setsockopt, before a socket is connected."""

    def set_longest_idle(self, seconds: int) -> None:
        """
        How long a kept connection may have been idle that is used again; 0 for any time.
        """

    def set_unix_socket(self, path: str) -> None:
        """Connect there instead of to the URLs' hosts."""

    def set_http_version(self, version: HttpVersion) -> None: ...

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

class CancelToken:
    """
    Ends requests from another thread.

    Give one token to any number of requests as ``cancel=``; cancel() ends them all with Cancelled,
    also those that wait for a connection or for their next attempt, and every later request that is
    given the token.  A token cannot be reset.

    Thread-safety: safe on shared objects.
    """

    def __init__(self) -> None: ...
    def cancel(self) -> None:
        """End every request that has this token.  Idempotent."""

    @property
    def cancelled(self) -> bool:
        """Whether cancel() was called."""

class Client:
    """Connections and defaults behind offgil.Client."""

    def __init__(self, config: Config, response_type: type[Response]) -> None: ...
    def request(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str | None]] | None,
        body: bytes | FileBody | IterableBody | None,
        limits: tuple[float | None, ...],
        cancel: CancelToken | None,
        save_to: int = -1,
    ) -> Response:
        """
        Run one request to its end, detached; a 2xx body goes to the descriptor `save_to`, if given.
        """

    def pause(self, seconds: float, cancel: CancelToken | None) -> None:
        """Sleep, detached; close() and the token end it with their error."""

    def counts(self) -> dict[str, Any]:
        """What happened since the client was made, in this process."""

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
        headers: list[tuple[str, str | None]] | None,
        body: bytes | FileBody | IterableBody | None,
        limits: tuple[float | None, ...],
        cancel: CancelToken | None,
        tag: int,
    ) -> None:
        """Queue a request."""

    def wait(self, timeout: float | None) -> list[tuple[int, Response | Exception]]:
        """
        Drive all requests, detached, until one or more are complete or `timeout` seconds are over.
        """

    def close(self) -> None:
        """Drop what is in flight and end the connections."""

class Mailbox:
    """One event loop's requests on the thread of a client's engine."""

    def __init__(self, client: Client, stream_type: type[AsyncStream]) -> None: ...
    def fileno(self) -> int:
        """The descriptor that is readable while take() has something."""

    def submit(
        self,
        method: str,
        url: str,
        headers: list[tuple[str, str | None]] | list[tuple[bytes, bytes]] | None,
        body: bytes | FileBody | IterableBody | FedBody | None,
        limits: tuple[float | None, ...],
        cancel: CancelToken | None,
        pieces: bool,
        save_to: int = -1,
        target: bytes | None = None,
        connect_to: str | None = None,
    ) -> int:
        """
        Start a request; take() brings its end, or with `pieces` its head.  A 2xx body goes to `save_to`.
        """

    def pause(self, seconds: float, cancel: CancelToken | None) -> int:
        """
        Start a pause, which a close and the token end early, and return its number.
        """

    def cancel(self, number: int) -> None:
        """End a request without a word; nothing happens if it is over."""

    def nudge(self) -> None:
        """Make the engine look at what a FedBody was given."""

    def abandon(self) -> None:
        """End all that is under way, without a word."""

    def take(self) -> list[tuple[int, Response | AsyncStream | Exception | None]]:
        """
        What came since the last time; None where a pause is over or a stream has something.
        """

class FedBody:
    """The body of one request of a Mailbox, brought piece by piece."""

    def __init__(self, size: int | None) -> None:
        """`size` is how many bytes there will be, None for any number."""

    @property
    def asks(self) -> bool:
        """Whether the next piece is wanted; take() brings None when it is."""

    def give(self, piece: bytes) -> None:
        """Bring a piece, not empty, then nudge() the mailbox."""

    def finish(self) -> None:
        """Say that there is no more, then nudge() the mailbox."""

class AsyncStream:
    """A response whose body comes in pieces by itself."""

    @property
    def status_code(self) -> int: ...
    @property
    def reason_phrase(self) -> str: ...
    @property
    def http_version(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def head(self) -> tuple[bytes, int, bytes, list[tuple[bytes, bytes]]]:
        """HTTP version, status code, reason phrase and headers, at once."""

    @property
    def connection(self) -> tuple[tuple[str, int], tuple[str, int], bool, tuple[str, str, str, int, str, bytes] | None]:
        """Both ends, whether it was opened for this request, and its TLS."""

    @property
    def number(self) -> int: ...
    def next(self) -> bytes | None:
        """
        The next bytes of the body; None at its end; b"" if take() will tell when there are any.
        """

    def close(self) -> None:
        """Drop what is unread; ends a connection in the middle of an answer."""

class Stream:
    """A response whose body comes in pieces, on the calling thread."""

    def __init__(
        self,
        client: Client,
        method: str,
        url: str,
        headers: list[tuple[str, str | None]] | list[tuple[bytes, bytes]] | None,
        body: bytes | FileBody | IterableBody | None,
        limits: tuple[float | None, ...],
        cancel: CancelToken | None,
        target: bytes | None = None,
        connect_to: str | None = None,
    ) -> None:
        """Send a request, detached, and wait for the head of its answer."""

    @property
    def status_code(self) -> int: ...
    @property
    def reason_phrase(self) -> str: ...
    @property
    def http_version(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]: ...
    @property
    def head(self) -> tuple[bytes, int, bytes, list[tuple[bytes, bytes]]]:
        """HTTP version, status code, reason phrase and headers, at once."""

    @property
    def connection(self) -> tuple[tuple[str, int], tuple[str, int], bool, tuple[str, str, str, int, str, bytes] | None]:
        """Both ends, whether it was opened for this request, and its TLS."""

    def next(self) -> bytes | None:
        """Wait, detached, for the next bytes of the body; None at its end."""

    def rest(self) -> bytes | None:
        """
        The rest of the body, if it is all there; None if not, or if it ends in an error.
        """

    def close(self) -> None:
        """Drop what is unread; ends a connection in the middle of an answer."""

def declares_free_threading(module: object) -> bool | None:
    """
    Whether an extension module declared that it needs no GIL; None where that cannot be known.
    """

class SharedTableStats:
    """Counters of a SharedTable."""

    @property
    def entries(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def puts(self) -> int: ...
    @property
    def takes(self) -> int: ...
    @property
    def expired(self) -> int: ...
    @property
    def evicted(self) -> int: ...
    @property
    def waiters(self) -> int: ...
    @property
    def blocked(self) -> int: ...

class SharedTable:
    """
    The native part of offgil.SharedStateStore; offgil.ResultStore says what each method does.

    Thread-safety: safe on shared objects.
    """

    def __init__(
        self, failure_type: type, sizeof: Any, max_bytes: int | None, max_entries: int | None, on_full: str
    ) -> None: ...
    def __len__(self) -> int: ...
    def __getitem__(self, key: str, /) -> Any: ...
    def __setitem__(self, key: str, value: Any, /) -> None: ...
    def __delitem__(self, key: str, /) -> None: ...
    def __contains__(self, key: object, /) -> bool: ...
    def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        priority: int = 0,
        topic: str | None = None,
        if_absent: bool = False,
        timeout: float | None = None,
    ) -> bool:
        """
        Publish a result and wake whoever waits for it; False only if if_absent found one.
        """

    def get(self, key: str, default: Any = None) -> Any:
        """The result, or default if there is none."""

    def wait(self, key: str, timeout: float | None = None) -> Any:
        """Return the result, parking until it is there; it stays in the store."""

    def pop(self, key: str, default: Any = ..., *, timeout: float | None = 0) -> Any:
        """Remove and return the result, waiting up to timeout seconds for it."""

    def take(self, topic: str | None = None, timeout: float | None = None) -> tuple[str, Any]:
        """
        Remove and return one (key, result) of topic: highest priority first, then the oldest.
        """

    def as_completed(self, keys: Iterable[str], timeout: float | None = None) -> Iterator[tuple[str, Any]]:
        """
        Iterate over (key, result) in order of arrival; one sleep waits for all.
        """

    def clear(self) -> None:
        """Remove every result."""

    def close(self) -> None:
        """Drop the results, wake every waiter with Closed, refuse further use."""

    @property
    def closed(self) -> bool:
        """Whether close() was called."""

    def peek(self, key: str, default: Any) -> Any:
        """The result, an exception as an object; no use in the sense of on_full."""

    def remove(self, key: str, default: Any) -> Any:
        """The same, and the entry is gone."""

    def key_list(self) -> list[str]:
        """The keys as they are now."""

    def sightings(self) -> list[tuple[str, bool, int, int, str | None, float, float | None, int]]:
        """
        All entries at one instant: key, failed, size, priority, topic, age, ttl, producer.
        """

    def listen(self, key: str, future: Any, mailbox: LoopMailbox | None) -> SharedListener:
        """
        Have future told of the key's result: by a mailbox, or by calling its _arrive.
        """

    def unlisten(self, listener: SharedListener) -> bool:
        """Stop that; False if the result was faster."""

    def counters(self) -> SharedTableStats:
        """Counters, read without a lock."""

class SharedListener:
    """One future that waits for one key."""

class LoopMailbox:
    """
    What an asyncio loop has yet to tell its futures; one wake-up of the loop for all of it.
    """

    def __init__(self, loop: object) -> None: ...
    @property
    def loop(self) -> object: ...
    def __call__(self) -> None: ...

class SharedCompletions:
    """The iterator of as_completed."""

    def __iter__(self) -> SharedCompletions: ...
    def __next__(self) -> tuple[str, Any]: ...

class SharedLoan:
    """A bytes object to write into before it is seen."""

    def __init__(self, size: int) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __release_buffer__(self, buffer: memoryview, /) -> None: ...
    def finish(self) -> bytes:
        """The bytes; BufferError while something looks at them."""

def after_fork_in_child() -> None:
    """Makes the tables of the parent process unusable in this one."""
