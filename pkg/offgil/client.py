"""HTTP from ordinary, blocking Python, off the GIL."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, Unpack, cast

from offgil import __version__, _core
from offgil.errors import InvalidURL, RequestError
from offgil.request import (
    UNSET,
    Content,
    HeaderTypes,
    ParamTypes,
    Request,
    RequestOptions,
    Unset,
    encode_body,
    encode_headers,
    encode_params,
    encode_url,
)
from offgil.response import Response
from offgil.retry import Retry
from offgil.stats import ClientStats
from offgil.stream import StreamResponse
from offgil.timeouts import Timeout, check_seconds, limits_of

__all__ = ["Batch", "Client"]

#: More than any API answers in one piece, and less than what ends a process when a hostile server sends it.
MAX_RESPONSE_BYTES = 1 << 30

#: What became of one request of many.
Outcome = Response | RequestError | InvalidURL

# (method, url, headers, body, limits with the deadline as the fifth, cancel token), as the native core takes them.
_Encoded = tuple[
    str, str, list[tuple[str, str]] | None, bytes | None, tuple[float | None, ...], _core.CancelToken | None
]


class Client:
    """A pool of connections with defaults.

    A call runs in the native core with the interpreter released, on the calling thread; Ctrl-C ends it within 100 ms.
    Connections are kept and reused; a POST (or any method that is not idempotent) is never sent twice silently.

    A client can be used after a fork, in parent and child, and pickles as its configuration.

    Args:
        base_url: prefix of relative URLs.
        headers: sent with every request, unless the request gives the same name.
        params: query parameters of every request.
        timeout: limits in seconds; see :class:`Timeout`.
        deadline: seconds for a request as a whole, from the call to the last byte, attempts and pauses included;
            ``None`` for no limit.
        retry: when a failed request is sent again; ``None`` for never.  :meth:`map` and :meth:`batch` do not do it.
        max_connections: calls that run at one time; more wait, up to the ``pool`` timeout.  An idle connection counts
            and makes room.  :meth:`map` and :meth:`batch` have bounds of their own.
        max_keepalive: idle connections kept.
        verify: check certificates against the system's authorities; a path names a PEM bundle; ``False`` trusts anyone.
        max_response_bytes: bound on a decoded body, above which :class:`ResponseTooLarge` is raised; ``None`` for none.

    Raises:
        ValueError: ``max_response_bytes`` is negative.

    Thread-safety: safe on shared objects.
    """

    def __init__(
        self,
        *,
        base_url: str = "",
        headers: HeaderTypes | None = None,
        params: ParamTypes | None = None,
        timeout: Timeout | float | None = Timeout(),  # noqa: B008 (immutable)
        deadline: float | None = None,
        retry: Retry | None = None,
        max_connections: int | None = None,
        max_keepalive: int = 256,
        verify: bool | str = True,
        max_response_bytes: int | None = MAX_RESPONSE_BYTES,
    ) -> None:
        if max_response_bytes is not None and max_response_bytes < 0:
            raise ValueError(f"max_response_bytes={max_response_bytes}: must be 0 or more, or None for no bound")
        if max_connections is not None and max_connections < 1:
            raise ValueError(f"max_connections={max_connections}: must be at least 1, or None for no limit")
        if max_keepalive < 0:
            raise ValueError(f"max_keepalive={max_keepalive}: must be at least 0")
        check_seconds("deadline", deadline)
        self._configuration = {
            "base_url": base_url,
            "headers": headers,
            "params": params,
            "timeout": timeout,
            "deadline": deadline,
            "retry": retry,
            "max_connections": max_connections,
            "max_keepalive": max_keepalive,
            "verify": verify,
            "max_response_bytes": max_response_bytes,
        }
        self._base_url = base_url.rstrip("/")
        self._params = encode_params(params)
        self._limits = limits_of(timeout)
        self._deadline = deadline
        self._default_limits = (*self._limits, deadline)
        self._retry = retry
        self._retries = 0
        self._retries_lock = threading.Lock()
        defaults = encode_headers(headers)
        given = {name.lower() for name, _ in defaults}
        for name, value in (("Accept", "*/*"), ("User-Agent", f"offgil/{__version__}")):
            if name.lower() not in given:
                defaults.append((name, value))
        ca_file = verify if isinstance(verify, str) else ""
        self._core = _core.Client(
            defaults, bool(verify), ca_file, Response, max_connections, max_keepalive, max_response_bytes
        )

    def _encode(
        self,
        method: str,
        url: str,
        params: ParamTypes | None = None,
        headers: HeaderTypes | None = None,
        json: Any = None,
        content: Content | None = None,
        timeout: Timeout | float | Unset | None = UNSET,
        deadline: float | Unset | None = UNSET,
        cancel: _core.CancelToken | None = None,
    ) -> _Encoded:
        fields = encode_headers(headers)
        body = encode_body(json, content, fields)
        pairs = self._params if params is None else self._params + encode_params(params)
        if isinstance(deadline, Unset):
            deadline = self._deadline
        else:
            check_seconds("deadline", deadline)
        limits = self._limits if isinstance(timeout, Unset) else limits_of(timeout)
        return method, encode_url(url, self._base_url, pairs), fields or None, body, (*limits, deadline), cancel

    def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send one request and return its whole answer.

        Args:
            method: any HTTP method, in upper case.
            url: absolute, or relative to ``base_url``.
            params: query parameters, after the client's.
            headers: replace the client's of the same name.
            json: encoded as the body, with its Content-Type.
            content: the body as it is; ``str`` is sent as UTF-8.
            timeout: overrides the client's.
            deadline: overrides the client's.
            cancel: a :class:`~offgil.CancelToken` that can end the call from another thread.

        Raises:
            RequestError: no usable answer; the subclass says why.
            InvalidURL: the URL cannot be parsed.
            Closed: the client is or was closed meanwhile.
        """
        if options:
            encoded = self._encode(method, url, **options)
        else:  # the most frequent call, and most of its cost in Python
            encoded = (method, encode_url(url, self._base_url, self._params), None, None, self._default_limits, None)
        if self._retry is not None and method in self._retry.methods:
            return self._request_with_retries(self._retry, encoded)
        return cast(Response, self._core.request(*encoded))

    def _request_with_retries(self, retry: Retry, encoded: _Encoded) -> Response:
        method, url, headers, body, (*phases, deadline), cancel = encoded
        end = None if deadline is None else time.monotonic() + deadline
        for attempt in itertools.count(1):
            left = None if end is None else max(0.0, end - time.monotonic())
            outcome: Response | RequestError
            try:
                outcome = cast(Response, self._core.request(method, url, headers, body, (*phases, left), cancel))
            except RequestError as error:
                outcome = error
            delay = retry.pause_after(attempt, outcome)
            # A pause that outlasts the deadline helps nobody: the caller gets what there is, now.
            if delay is None or (end is not None and time.monotonic() + delay >= end):
                break
            self._core.pause(delay, cancel)
            with self._retries_lock:
                self._retries += 1
        if isinstance(outcome, RequestError):
            raise outcome
        return outcome

    def stream(self, method: str, url: str, **options: Unpack[RequestOptions]) -> StreamResponse:
        """Send one request and return as soon as the head of its answer is there; use it in a ``with`` statement.

        Arguments and errors as for :meth:`request`, but it is never sent again by the client's ``retry``.  The ``read``
        timeout bounds each wait for more of the body, and the time between two reads does not count; ``deadline``
        bounds all of it.  A stream counts as one of ``max_connections`` until its body is over or it is closed.
        """
        return StreamResponse(self._core, *self._encode(method, url, **options))

    def get(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a GET request; options as for :meth:`request`."""
        return self.request("GET", url, **options)

    def head(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a HEAD request; options as for :meth:`request`."""
        return self.request("HEAD", url, **options)

    def options(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send an OPTIONS request; options as for :meth:`request`."""
        return self.request("OPTIONS", url, **options)

    def delete(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a DELETE request; options as for :meth:`request`."""
        return self.request("DELETE", url, **options)

    def post(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a POST request; options as for :meth:`request`."""
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a PUT request; options as for :meth:`request`."""
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send a PATCH request; options as for :meth:`request`."""
        return self.request("PATCH", url, **options)

    def map(
        self,
        requests: Iterable[Request | str],
        *,
        concurrency: int = 64,
        ordered: bool = True,
    ) -> Iterator[Outcome]:
        """Send many requests, up to ``concurrency`` at once, and yield an answer or an error for each.

        Driven by the iteration, on the calling thread: nothing is sent before the first ``next``, and ``requests`` is
        read only as fast as answers are consumed.  A URL stands for a GET.  Each outcome's ``request`` attribute is
        the :class:`Request` it belongs to.

        Args:
            requests: any iterable, as long as you like.
            concurrency: transfers in flight at most.
            ordered: yield in the order of ``requests`` (at most ``2 * concurrency`` answers wait for a slow one), or
                as they complete.

        Yields:
            A :class:`Response`, or the :class:`RequestError` or :class:`InvalidURL` that a single call would have
            raised.

        Raises:
            ValueError: ``concurrency`` is below 1.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency={concurrency}: must be at least 1")
        return self._map(iter(requests), concurrency, ordered)

    def _map(self, requests: Iterator[Request | str], concurrency: int, ordered: bool) -> Iterator[Outcome]:
        with self.batch(concurrency) as batch:
            waiting: deque[list[Outcome]] = deque()  # one cell a request, oldest first
            most_waiting = 2 * concurrency
            exhausted = False
            while True:
                while not exhausted and batch.in_flight < concurrency and len(waiting) < most_waiting:
                    item = next(requests, None)
                    if item is None:
                        exhausted = True
                        break
                    request = Request("GET", item) if isinstance(item, str) else item
                    cell: list[Outcome] = []
                    try:
                        batch.add(request, cell)
                    except (RequestError, InvalidURL) as error:
                        error.request = request
                        # Its traceback would keep this frame, and so the batch, alive for as long as the error.
                        cell.append(error.with_traceback(None))
                    if ordered:
                        waiting.append(cell)
                    elif cell:
                        yield cell[0]
                for cell, outcome in batch.wait(None):
                    if ordered:
                        cell.append(outcome)
                    else:
                        yield outcome
                while waiting and waiting[0]:
                    yield waiting.popleft()[0]
                if exhausted and not batch.in_flight:
                    return

    def batch(self, connections: int) -> Batch:
        """Return a new :class:`Batch`, the loop under :meth:`map`, for programs that add requests as they go."""
        return Batch(self, connections)

    def stats(self) -> ClientStats:
        """Counters since the client was made, in this process."""
        return ClientStats(retries=self._retries, **self._core.counts())

    def __reduce__(self) -> tuple[Callable[[dict[str, Any]], Client], tuple[dict[str, Any]]]:
        return _from_configuration, (self._configuration,)

    def close(self) -> None:
        """Cancel what runs, in any thread, and refuse further use.  Idempotent."""
        self._core.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _from_configuration(configuration: dict[str, Any]) -> Client:
    return Client(**configuration)


class Batch:
    """Requests in flight together, driven by the thread that calls :meth:`wait`.

    Args:
        client: whose connections' settings and defaults apply.
        connections: connections kept open between requests.

    Thread-safety: compatible; a second thread that calls in at the same time gets a :class:`RuntimeError`.
    """

    def __init__(self, client: Client, connections: int) -> None:
        self._client = client
        self._core = _core.Batch(client._core, connections)
        self._pending: dict[int, tuple[Any, Request]] = {}
        self._next_id = 0

    @property
    def in_flight(self) -> int:
        """Requests added whose outcome :meth:`wait` has not returned yet."""
        return len(self._pending)

    def add(self, request: Request, tag: Any = None) -> None:
        """Queue ``request``; nothing is sent before :meth:`wait`.

        Raises:
            LocalProtocolError, InvalidURL, UnsupportedProtocol: the request cannot be sent; the batch is as before.
        """
        encoded = self._client._encode(
            request.method,
            request.url,
            request.params,
            request.headers,
            request.json,
            request.content,
            request.timeout,
            request.deadline,
            request.cancel,
        )
        self._core.add(*encoded, self._next_id)
        self._pending[self._next_id] = (tag, request)
        self._next_id += 1

    def wait(self, timeout: float | None = None) -> list[tuple[Any, Response | RequestError]]:
        """Drive everything in flight until something completes; return ``(tag, outcome)`` for all that did.

        Args:
            timeout: seconds after which an empty list is returned; ``None`` for no limit.

        Raises:
            Closed: the client was closed.
        """
        if not self._pending and timeout is None:
            return []
        completed = []
        for number, outcome in self._core.wait(timeout):
            tag, request = self._pending.pop(number)
            outcome = cast(Response | RequestError, outcome)
            if isinstance(outcome, RequestError):
                outcome.request = request
            else:
                outcome._request = request
            completed.append((tag, outcome))
        return completed

    def close(self) -> None:
        """Drop what is in flight and end the connections.  Idempotent."""
        self._core.close()
        self._pending.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
