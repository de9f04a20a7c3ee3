"""HTTP from ordinary, blocking Python, off the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, Unpack, cast

from offgil.client_base import BaseClient
from offgil.download import Download, PartialFile
from offgil.exchange import Exchange, exchange
from offgil.map import Batch, Outcome, map_requests
from offgil.request import Encoded, Request, RequestOptions, encode_url
from offgil.response import Head, Response
from offgil.stream import StreamResponse

__all__ = ["Batch", "Client"]

R = TypeVar("R", bound=Head)


class Client(BaseClient):
    """A pool of connections with defaults.

    A call runs in the native core with the interpreter released, on the calling thread; Ctrl-C ends it within 100 ms.
    Connections are kept and reused; a POST (or any method that is not idempotent) is never sent twice silently.

    A client can be used after a fork, in parent and child, and pickles as its configuration.

    For the arguments see :class:`BaseClient`.

    Thread-safety: safe on shared objects.
    """

    def request(self, method: str, url: str, **options: Unpack[RequestOptions]) -> Response:
        """Send one request and return its whole answer.

        Args:
            method: any HTTP method, in upper case.
            url: absolute, or relative to ``base_url``.
            params: query parameters, after the client's.
            headers: replace the client's of the same name; a value of ``None`` only keeps the client's away.
            json: encoded as the body, with its Content-Type.
            content: the body as it is; ``str`` is sent as UTF-8.  Of a file opened in binary mode, what follows its
                position is sent: a regular one is read by the core, without Python, and its position stays.  An
                iterable of bytes (or a file that only Python can read) is advanced on the calling thread as fast as
                the server takes them, and sent in chunks, or under the Content-Length in ``headers``, which is
                checked; an iterator is sent once, whatever ``retry`` says.
            timeout: overrides the client's.
            deadline: overrides the client's.
            cancel: a :class:`~offgil.CancelToken` that can end the call from another thread.
            follow_redirects: overrides the client's.
            auth: (user, password) for basic authentication; overrides the URL's, and those the client's.

        Raises:
            RequestError: no usable answer; the subclass says why.
            InvalidURL: the URL cannot be parsed.
            TooManyRedirects: more than ``max_redirects``.
            Closed: the client is or was closed meanwhile.
            Exception: whatever an iterable ``content`` raises ends the request.
        """
        if self._is_direct and not options and "@" not in url:  # the most frequent call, and most of its cost in Python
            url = encode_url(url, self._base_url, self._params)
            return cast(Response, self._core.request(method, url, None, None, self._default_limits, None))
        return self._call(*self._encode(method, url, **options), self._send)

    def _call(self, encoded: Encoded, follow: bool, send: Callable[[Encoded], Response]) -> Response:
        if self._is_plain(self._retry, follow):
            return send(encoded)
        steps: Exchange[Response] = exchange(self, encoded, retry=self._retry, follow=follow)
        return self._drive(steps, send)

    def _send(self, encoded: Encoded, save_to: int = -1) -> Response:
        return cast(Response, self._core.request(*encoded, save_to))

    def _drive(self, steps: Exchange[R], send: Callable[[Encoded], R]) -> R:
        cancel = None
        try:
            step = next(steps)
            while True:
                if isinstance(step, float):
                    self._core.pause(step, cancel)
                    step = next(steps)
                    continue
                cancel = step.cancel
                try:
                    answer = send(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            return cast(R, end.value)

    def stream(self, method: str, url: str, **options: Unpack[RequestOptions]) -> StreamResponse:
        """Send one request and return as soon as the head of its answer is there; use it in a ``with`` statement.

        Arguments and errors as for :meth:`request`, but it is never sent again by the client's ``retry``.  The ``read``
        timeout bounds each wait for more of the body, and the time between two reads does not count; ``deadline``
        bounds all of it.  A stream counts as one of ``max_connections`` until its last byte is read or it is closed.
        """
        encoded, follow = self._encode(method, url, **options)
        if self._is_plain(None, follow):
            return StreamResponse(self._core, *encoded)
        previous: StreamResponse | None = None

        def send(step: Encoded) -> StreamResponse:
            nonlocal previous
            if previous is not None:
                previous.close()
            previous = StreamResponse(self._core, *step)
            return previous

        steps: Exchange[StreamResponse] = exchange(self, encoded, retry=None, follow=follow)
        try:
            return self._drive(steps, send)
        except BaseException:
            if previous is not None:
                previous.close()
            raise

    def download(
        self, url: str, path: str | os.PathLike[str], *, method: str = "GET", **options: Unpack[RequestOptions]
    ) -> Download:
        """Write the body of an answer to a file, in the core and in constant memory, whatever its size.

        The file gets its name when it is complete, and replaces one that has it; until then it is a hidden one beside
        it, which a failure removes.  It is not synced to the disk.  ``max_response_bytes`` does not bound it.

        Args:
            url: absolute, or relative to ``base_url``.
            path: the file.
            method: any HTTP method, in upper case.
            options: as for :meth:`request`.

        Raises:
            HTTPStatusError: the status is not 2xx; it carries the answer, whose body is in memory and bounded.
            FileError: the file cannot be written, for instance because the disk is full.
            OSError: the file cannot be made, closed or renamed.
            RequestError, InvalidURL, Closed: as for :meth:`request`.
        """
        encoded, follow = self._encode(method, url, **options)
        with PartialFile(path) as file:
            return file.keep(self._call(encoded, follow, partial(self._send, save_to=file.descriptor)))

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
            TypeError: the ``content`` of a request is an iterable, or a file that only Python can read.
        """
        if concurrency < 1:
            raise ValueError(f"concurrency={concurrency}: must be at least 1")
        return map_requests(self, iter(requests), concurrency, ordered)

    def batch(self, connections: int) -> Batch:
        """Return a new :class:`Batch`, the loop under :meth:`map`, for programs that add requests as they go."""
        return Batch(self, connections)

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
