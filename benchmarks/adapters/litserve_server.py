"""The LitServe server of litserve_stream.py: ``litserve_server.py PEER PORT WORKERS``; and the peers' transports."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import litserve
from litserve.transport.base import MessageTransport
from litserve.transport.process_transport import MPQueueTransport

from offgil.adapters.litserve import StoreTransport, install
from offgil.store.mailboxes import Mailboxes


class PipeTransport(MessageTransport):
    """A raw pipe for each consumer, read by its event loop: no third process, no thread."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._set_up([context.Pipe(duplex=False) for _ in range(count)], context.Lock())

    def _set_up(self, pipes: list[Any], lock: Any) -> None:
        self._pipes, self._lock = pipes, lock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ready: deque[Any] = deque()
        self._arrived = asyncio.Event()

    def send(self, item: Any, consumer_id: int) -> None:
        with self._lock:
            self._pipes[consumer_id][1].send(item)

    async def areceive(self, consumer_id: int, timeout: float | None = None) -> Any:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._pipes[consumer_id][0].fileno(), self._read, self._pipes[consumer_id][0])
        while not self._ready:
            self._arrived.clear()
            await self._arrived.wait()
        return self._ready.popleft()

    def _read(self, pipe: Any) -> None:
        self._ready.append(pipe.recv())
        self._arrived.set()

    def __reduce__(self) -> Any:
        return _attach_pipes, (self._pipes, self._lock)


def _attach_pipes(pipes: list[Any], lock: Any) -> PipeTransport:
    transport = PipeTransport.__new__(PipeTransport)
    transport._set_up(pipes, lock)
    return transport


def queue_transport(count: int) -> MessageTransport:
    """LitServe's default."""
    manager = multiprocessing.Manager()
    transport = MPQueueTransport(manager, [manager.Queue() for _ in range(count)])
    transport.keep_alive = manager
    return transport


def store_transport(count: int) -> StoreTransport:
    return StoreTransport(Mailboxes(count, max_bytes=1 << 28, ttl=300))


#: Peer -> how to make its transport alone.
TRANSPORTS: dict[str, Callable[[int], Any]] = {
    "offgil": store_transport,
    "offgil, results only": store_transport,
    "LitServe's default": queue_transport,
    "pipes": PipeTransport,
}


class Tokens(litserve.LitAPI):
    """Makes as many tokens as asked for, as fast as they are taken."""

    def setup(self, device: str) -> None:
        pass

    def decode_request(self, request: dict[str, int]) -> int:
        return request["tokens"]

    def predict(self, x: int) -> Iterator[str]:
        for number in range(x):
            yield f"{number:07} "

    def encode_response(self, output: Iterator[str]) -> Iterator[str]:
        yield from output


def main() -> None:
    peer, port, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    server = litserve.LitServer(Tokens(stream=True), accelerator="cpu", workers_per_device=workers, timeout=False)
    if peer == "offgil":
        install(server)
    elif peer != "LitServe's default":
        init_manager = server._init_manager

        def init_transport(count: int) -> Any:
            manager = init_manager(count)
            server._transport = TRANSPORTS[peer](count)
            return manager

        server._init_manager = init_transport
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False, log_level="error")


if __name__ == "__main__":
    main()
