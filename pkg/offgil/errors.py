"""Every exception that offgil raises, in one tree.

Network errors carry httpx's names and nesting, so that code written for httpx reads the same; store errors hang below
:class:`StoreError`.  Each message says what happened, to which URL or key, and what to do about it.

::

    OffgilError
    ├── HTTPError
    │   ├── RequestError
    │   │   ├── TransportError
    │   │   │   ├── TimeoutException
    │   │   │   │   ├── ConnectTimeout
    │   │   │   │   ├── ReadTimeout
    │   │   │   │   ├── WriteTimeout
    │   │   │   │   ├── PoolTimeout
    │   │   │   │   └── DeadlineExceeded
    │   │   │   ├── NetworkError
    │   │   │   │   ├── ConnectError
    │   │   │   │   ├── ReadError
    │   │   │   │   ├── WriteError
    │   │   │   │   └── CloseError
    │   │   │   ├── ProtocolError
    │   │   │   │   ├── LocalProtocolError
    │   │   │   │   └── RemoteProtocolError
    │   │   │   ├── ProxyError
    │   │   │   └── UnsupportedProtocol
    │   │   ├── Cancelled
    │   │   ├── DecodingError
    │   │   ├── FileError           (also OSError)
    │   │   ├── ResponseTooLarge
    │   │   └── TooManyRedirects
    │   └── HTTPStatusError
    ├── InvalidURL              (also ValueError)
    ├── Closed                  (also RuntimeError)
    ├── NoEventLoop             (also RuntimeError)
    ├── StreamError             (also RuntimeError)
    │   ├── StreamClosed
    │   └── StreamConsumed
    ├── UnusableCertificate     (also ValueError)
    ├── UnusableSSLContext      (also ValueError)
    ├── BatchError
    ├── UnknownKind             (also ValueError)
    ├── ExecutorError
    │   ├── BrokenExecutor      (also concurrent.futures.BrokenExecutor)
    │   ├── ExecutorFull        (also TimeoutError)
    │   ├── RemoteTraceback
    │   ├── TaskTimeout         (also TimeoutError)
    │   └── WorkerDied
    └── StoreError
        ├── StoreTimeout        (also TimeoutError)
        ├── StoreFull
        ├── StoreCorrupted
        ├── StoreUnavailable    (also NotImplementedError)
        ├── CodecError          (also TypeError)
        ├── RemoteError
        └── KeyTooLong          (also ValueError)
"""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from offgil.async_stream import AsyncStreamResponse
    from offgil.request import Request
    from offgil.response import Response
    from offgil.stream import StreamResponse

__all__ = [
    "BatchError",
    "BrokenExecutor",
    "Cancelled",
    "CloseError",
    "Closed",
    "CodecError",
    "ConnectError",
    "ConnectTimeout",
    "DeadlineExceeded",
    "DecodingError",
    "ExecutorError",
    "ExecutorFull",
    "FileError",
    "HTTPError",
    "HTTPStatusError",
    "InvalidURL",
    "KeyTooLong",
    "LocalProtocolError",
    "NetworkError",
    "NoEventLoop",
    "OffgilError",
    "PoolTimeout",
    "ProtocolError",
    "ProxyError",
    "ReadError",
    "ReadTimeout",
    "RemoteError",
    "RemoteProtocolError",
    "RemoteTraceback",
    "RequestError",
    "ResponseTooLarge",
    "StoreCorrupted",
    "StoreError",
    "StoreFull",
    "StoreTimeout",
    "StoreUnavailable",
    "StreamClosed",
    "StreamConsumed",
    "StreamError",
    "TaskTimeout",
    "TimeoutException",
    "TooManyRedirects",
    "TransportError",
    "UnknownKind",
    "UnsupportedProtocol",
    "UnusableCertificate",
    "UnusableSSLContext",
    "WorkerDied",
    "WriteError",
    "WriteTimeout",
]


class OffgilError(Exception):
    """Base of every exception that offgil raises by itself."""


class HTTPError(OffgilError):
    """Base of :class:`RequestError` and :class:`HTTPStatusError`."""


class RequestError(HTTPError):
    """A request got no usable answer.  ``str(exc)`` names the method and the URL."""

    #: The request that :meth:`Client.map` was given; ``None`` for direct calls.
    request: Request | None = None


class TransportError(RequestError):
    """The failure lies between this program and the server, not in the answer's meaning."""


class TimeoutException(TransportError):
    """A time limit passed; the subclass says in which phase."""


class ConnectTimeout(TimeoutException):
    """No connection (name look-up, TCP, TLS) within the ``connect`` limit."""


class ReadTimeout(TimeoutException):
    """The server sent nothing for the ``read`` limit."""


class WriteTimeout(TimeoutException):
    """The server accepted nothing for the ``write`` limit."""


class PoolTimeout(TimeoutException):
    """No connection of the pool became free within the ``pool`` limit."""


class DeadlineExceeded(TimeoutException):
    """The request as a whole, attempts and pauses included, took longer than its ``deadline``."""


class NetworkError(TransportError):
    """The connection could not be made or broke."""


class ConnectError(NetworkError):
    """The connection could not be made: name look-up, TCP or TLS failed."""


class ReadError(NetworkError):
    """Receiving from the server failed."""


class WriteError(NetworkError):
    """Sending to the server failed."""


class CloseError(NetworkError):
    """Closing the connection failed."""


class ProtocolError(TransportError):
    """One side broke the HTTP protocol."""


class LocalProtocolError(ProtocolError):
    """The request itself is not valid HTTP, for instance a header with a line break.

    Nothing was sent, unless its body turned out not to keep to its length.
    """


class RemoteProtocolError(ProtocolError):
    """The server's answer is not valid HTTP or ended too early."""


class ProxyError(TransportError):
    """The proxy refused or failed."""


class UnsupportedProtocol(TransportError):
    """The URL's scheme is missing, or is neither ``http`` nor ``https``."""


class Cancelled(RequestError):
    """A :class:`~offgil.CancelToken` ended the request."""


class DecodingError(RequestError):
    """The body's Content-Encoding does not match its bytes."""


class FileError(RequestError, OSError):
    """A file, the body of the request or the target of a download, could not be read or written.

    ``errno``, ``strerror`` and ``filename`` say what happened to which file.
    """


class ResponseTooLarge(RequestError):
    """The answer's header, or its decoded body, exceeds the client's bounds."""


class TooManyRedirects(RequestError):
    """The server redirected more often than allowed."""


class HTTPStatusError(HTTPError):
    """The server answered with a 4xx or 5xx status; raised by ``Response.raise_for_status``.

    :meth:`Client.download` raises it for whatever is not 2xx.
    """

    def __init__(self, message: str, *, response: Response | StreamResponse | AsyncStreamResponse) -> None:
        super().__init__(message)
        self.response = response


class InvalidURL(OffgilError, ValueError):
    """The URL cannot be parsed.  Nothing was sent."""

    #: As for :class:`RequestError`.
    request: Request | None = None


class Closed(OffgilError, RuntimeError):
    """The client or store was closed, before the call or while it waited."""


class NoEventLoop(OffgilError, RuntimeError):
    """:class:`~offgil.AsyncClient` was used where no asyncio event loop runs."""


class StreamError(OffgilError, RuntimeError):
    """A streamed body was asked for when it could not be had any more."""


class StreamClosed(StreamError):
    """The streamed response was closed before its body was read."""


class StreamConsumed(StreamError):
    """A body that comes once, a streamed answer's or an iterator to be sent, has been read or iterated over already."""


class UnknownKind(OffgilError, ValueError):
    """There is no store, or no kind of workers, of the name that an argument or the environment gives."""


class UnusableCertificate(OffgilError, ValueError):
    """The files of a client's ``cert`` cannot be read, or do not belong together; or its ``verify`` is not there."""


class UnusableSSLContext(OffgilError, ValueError):
    """An :class:`ssl.SSLContext` asks for what cannot be read from it, or not be done without Python's own TLS."""


class BatchError(OffgilError):
    """A batch cannot start, for instance because its results file exists.  Nothing was sent."""


class ExecutorError(OffgilError):
    """Base of the executor's own errors; what a task raises comes as it is."""


class BrokenExecutor(ExecutorError, concurrent.futures.BrokenExecutor):
    """Workers cannot be started, for instance because the initializer raises; the executor cannot be used further."""


class ExecutorFull(ExecutorError, TimeoutError):
    """``max_pending`` tasks were pending for the whole ``submit_timeout``; the task was not taken on."""


class RemoteTraceback(ExecutorError):
    """The ``__cause__`` of an exception that a worker process raised; ``str()`` is the traceback there."""


class TaskTimeout(ExecutorError, TimeoutError):
    """The task ran longer than its ``timeout``."""


class WorkerDied(ExecutorError):
    """The worker process ended while it ran this task; the executor goes on with another one.

    Attributes:
        pid: of the process.
        exitcode: of the process where it exited, for instance by ``os._exit``.
        signal: number of the signal that killed it.
    """

    pid: int | None = None
    exitcode: int | None = None
    signal: int | None = None


class StoreError(OffgilError):
    """Base of the result stores' errors."""


class StoreTimeout(StoreError, TimeoutError):
    """The awaited key, entry or free space did not come within ``timeout`` seconds."""


class StoreFull(StoreError):
    """The store has no room for the value; raise its bounds, or remove results that were read."""


class StoreCorrupted(StoreError):
    """Shared memory does not hold what it must; the store cannot be used further."""


class StoreUnavailable(StoreError, NotImplementedError):
    """This platform or process cannot have that kind of store."""


class CodecError(StoreError, TypeError):
    """The value cannot be encoded for, or decoded from, the store."""


class RemoteError(StoreError):
    """A result is an exception of another process that cannot be made anew here; the message says what it was."""


class KeyTooLong(StoreError, ValueError):
    """A key's UTF-8 form exceeds the store's limit."""
