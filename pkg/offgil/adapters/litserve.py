"""LitServe with requests and results in shared memory: :func:`install`, then ``server.run()``.

LitServe carries both through queues of a ``multiprocessing.Manager``: each message takes several round trips to a third
process, those of requests on the event loop.  Here they are put into managed-dict stores.  Each API server has a
mailbox (``store/mailboxes.py``).  In it come, under the uid of a request, ``bytes``: a response or a part of one,
pickled; or an ``int``: the pid of the worker that took it (with no uid: of one that begins).  So each API server knows
which process has which of its requests; it watches these processes, and answers itself for one that dies and for what
is open when the server shuts down.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import queue
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException
from litserve import LitServer
from litserve.transport.base import MessageTransport
from litserve.utils import LitAPIStatus, LoopResponseType

from offgil.errors import Closed, StoreFull, StoreTimeout
from offgil.exits import Exits
from offgil.store import ManagedDictStore
from offgil.store.mailboxes import Mailbox, Mailboxes

__all__ = ["RequestQueue", "StoreTransport", "install"]

_logger = logging.getLogger(__name__)

_CLAIM = 1.0  # seconds within which a worker that took a request says so, if it lives
_IDLE = 0.05  # seconds that a worker sleeps which asks again and again for requests and finds none

#: The uid is a ``str``, or of LitServe's OpenAI spec a ``UUID``.
_Message = tuple[Any, tuple[Any, str, LoopResponseType, int | None]]


def install(server: LitServer, *, max_bytes: int = 1 << 30, ttl: float = 300.0) -> None:
    """Have ``server`` carry requests and results through shared memory; to be called before ``server.run()``.

    LitServe has no hook for this: ``_init_manager``, the method in which it makes its queues, is replaced on this one
    object by one that then replaces the queues.  Nothing else is touched.  docs/adapters.md says what gets different.

    Args:
        max_bytes: room for results, and as much for the requests of each API; used only as they fill it.  A worker
            waits for room for its results; a request that finds none is answered with 503.
        ttl: seconds after which a result is released that its API server, killed for instance, did not fetch.

    Thread-safety: compatible.
    """
    init_manager: Callable[[int], Any] = server._init_manager

    def init_stores(num_api_servers: int) -> Any:
        manager = init_manager(num_api_servers)
        server._transport = transport = StoreTransport(Mailboxes(num_api_servers, max_bytes=max_bytes, ttl=ttl))
        for api in server.litapi_connector:
            store = ManagedDictStore(max_bytes=max_bytes)
            server.litapi_request_queues[api.api_path] = RequestQueue(transport, store, streaming=api.stream)
        return manager

    server._init_manager = init_stores


class StoreTransport(MessageTransport):
    """Results on their way from workers to API servers, the *consumers* 0, 1, ….

    Goes to other processes as its ``mailboxes`` do, one for each consumer.  One event loop receives for a consumer.

    Thread-safety: safe on shared objects.
    """

    def __init__(self, mailboxes: Mailboxes) -> None:
        self.mailboxes = mailboxes
        self._inboxes: list[_Inbox | None] = [None] * len(mailboxes.bells)

    def send(self, item: Any, consumer_id: int) -> None:
        """Hand ``(uid, (data, status, response_type, worker_id))`` over; it is in the store when this returns.

        What cannot be sent becomes an error of status 500 for ``uid``.  After :meth:`close`, nothing happens.
        """
        uid, (data, status, kind, worker_id) = item
        try:
            # The enum by its value: half the time of the whole pickle otherwise.
            self._send(consumer_id, uid, pickle.dumps((uid, data, status, kind.value, worker_id), protocol=5))
        except Exception as exc:  # pickling runs the value's own code
            _logger.exception("request %s: the response cannot be sent", uid)
            error = HTTPException(500, f"the response cannot be sent: {exc}")
            self._send(consumer_id, uid, pickle.dumps((uid, error, LitAPIStatus.ERROR, kind.value, worker_id)))

    def claim(self, consumer_id: int, uid: str) -> None:
        """Say that this process has request ``uid`` from now on; with ``""``, that it will ask for some."""
        self._send(consumer_id, uid, os.getpid())

    def _send(self, consumer_id: int, uid: Any, value: bytes | int) -> None:
        with suppress(Closed):  # nobody is there any more to be told
            self.mailboxes.send(consumer_id, str(uid), value)

    async def areceive(self, consumer_id: int, timeout: float | None = None) -> _Message | None:
        """The consumer's next message; ``None`` if none came within ``timeout`` seconds.

        Raises:
            asyncio.CancelledError: the transport is closed.
        """
        inbox = self._inboxes[consumer_id]
        if inbox is None or inbox.loop is not asyncio.get_running_loop():
            inbox = self._inboxes[consumer_id] = _Inbox(self.mailboxes, consumer_id)
        try:
            return await inbox.get(timeout)
        except Closed as exc:
            raise asyncio.CancelledError(str(exc)) from exc

    def inbox_here(self) -> _Inbox | None:
        """The inbox of the event loop that runs in this thread."""
        loop = asyncio.get_running_loop()
        return next((inbox for inbox in self._inboxes if inbox is not None and inbox.loop is loop), None)

    def close(self, send_sentinel: bool = True) -> None:
        """End every :meth:`areceive`; in the process that made the transport, for all processes.  Idempotent."""
        self.mailboxes.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return StoreTransport, (self.mailboxes,)


class RequestQueue:
    """Requests to one API on their way to its workers: as much of a queue as LitServe uses.

    Thread-safety: safe on shared objects.
    """

    def __init__(self, transport: StoreTransport, store: ManagedDictStore, *, streaming: bool) -> None:
        self.kind = LoopResponseType.STREAMING if streaming else LoopResponseType.REGULAR
        self._transport = transport
        self.store = store
        self._announced = self._idle = False

    def put(self, item: tuple[int, Any, float, Any]) -> None:
        """Queue ``(consumer_id, uid, timestamp, payload)``; its answer comes to the event loop that calls this.

        Raises:
            fastapi.HTTPException: 503: there is no room, or the server is shutting down.
        """
        consumer, uid, *rest = item
        if (inbox := self._transport.inbox_here()) is not None:
            # LitServe has only one number for all API servers that are threads.
            consumer = inbox.number
            if inbox.closed:
                raise HTTPException(503, "the server is shutting down")
        try:
            self.store.put(f"{consumer}/{uid}", pickle.dumps((consumer, uid, *rest), protocol=5))
        except StoreFull as exc:
            raise HTTPException(503, f"too many requests wait: {exc}") from exc
        if inbox is not None:
            inbox.pending[str(uid)] = _Pending(uid, self)

    put_nowait = put  # the name that LitServe's embedding spec calls

    def get(self, block: bool | float = True, timeout: float | None = None) -> Any:
        """The oldest request, which this process has from now on; :class:`queue.Empty` if none came in time."""
        if isinstance(block, float):  # LitServe's asynchronous loops give the timeout in this place
            block, timeout = True, block
        if not self._announced:
            self._announced = True
            for consumer in range(len(self._transport.mailboxes.bells)):
                self._transport.claim(consumer, "")
        try:
            key, body = self.store.take(None, timeout if block else 0)
        except StoreTimeout:
            raise queue.Empty from None
        consumer_id, uid = key.split("/", 1)
        self._transport.claim(int(consumer_id), uid)
        return pickle.loads(body)

    def get_nowait(self) -> Any:
        """:meth:`get` without waiting, but for who asks again and again, as LitServe's batching does."""
        timeout, self._idle = _IDLE if self._idle else 0, True
        item = self.get(timeout=timeout)
        self._idle = False
        return item

    def qsize(self) -> int:
        """Requests that no worker has taken."""
        return len(self.store)


@dataclass
class _Pending:
    """A request without its answer."""

    uid: Any
    queue: RequestQueue
    worker: int | None = None  # pid


class _Inbox(Mailbox[_Message]):
    """What one API server receives, and the requests that it waits for."""

    def __init__(self, mailboxes: Mailboxes, consumer: int) -> None:
        super().__init__(mailboxes, consumer)
        self.pending: dict[str, _Pending] = {}  # under str(uid)
        self._workers = Exits(self._mourn)

    def accept(self, name: str, value: bytes | int) -> None:
        if isinstance(value, int):
            if name in self.pending:
                self.pending[name].worker = value
            self._workers.watch(value)
            return
        try:
            uid, data, status, kind, worker_id = pickle.loads(value)
        except Exception as exc:  # unpickling runs the value's own code
            self._fail(name, 500, f"the response cannot be read by the API server: {exc}")
            return
        if status in (LitAPIStatus.ERROR, LitAPIStatus.FINISH_STREAMING) or (
            status == LitAPIStatus.OK and kind == LoopResponseType.REGULAR.value
        ):
            self.pending.pop(name, None)
        self.deliver((uid, (data, status, LoopResponseType(kind), worker_id)))

    def end(self) -> None:
        self._workers.close()
        for name in list(self.pending):
            self._fail(name, 503, "the server is shutting down")

    def _mourn(self, pid: int) -> None:
        self.fetch(sys.maxsize)  # all that it has sent
        for name in [name for name, request in self.pending.items() if request.worker == pid]:
            self._fail(name, 500, f"the worker that had it died (pid {pid})")
        # It may have been killed between taking a request and saying so.
        taken = [name for name, request in self.pending.items() if f"{self.number}/{name}" not in request.queue.store]
        self.loop.call_later(_CLAIM, self._give_up, taken, pid)

    def _give_up(self, taken: list[str], pid: int) -> None:
        for name in self.pending.keys() & taken:
            if self.pending[name].worker is None:
                self._fail(name, 500, f"the worker that took it died (pid {pid})")

    def _fail(self, name: str, status: int, reason: str) -> None:
        _logger.error("request %s: %s", name, reason)
        request = self.pending.pop(name, None)
        uid, kind = (name, LoopResponseType.REGULAR) if request is None else (request.uid, request.queue.kind)
        self.deliver((uid, (HTTPException(status, reason), LitAPIStatus.ERROR, kind, None)))
