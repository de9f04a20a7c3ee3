"""What moves or keeps bytes between processes, each in the same few words.

A *table* has put(key, data) and get(key).  A *channel* is made before the fork; the parent calls send(data), the child
recv(), which parks until something is there, or polls where the peer knows no other way.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

POLL = 0.0001

context = multiprocessing.get_context("fork")


class OffgilTable:
    def __init__(self) -> None:
        from offgil.store.managed import ManagedDictStore

        self.store = ManagedDictStore(max_bytes=1 << 30)
        self.put, self.get = self.store.__setitem__, self.store.__getitem__


class ManagerTable:
    def __init__(self) -> None:
        self._manager = multiprocessing.Manager()
        self.dict = self._manager.dict()
        self.put, self.get = self.dict.__setitem__, self.dict.__getitem__


class UltraDictTable:
    def __init__(self) -> None:
        from UltraDict import UltraDict

        table = UltraDict(buffer_size=1 << 24, shared_lock=False)
        self.put, self.get = table.__setitem__, table.__getitem__


class LmdbTable:
    """One transaction for each operation, and nothing written to a disk."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm")
        self._environment: Any = None
        self._pid = 0

    def _open(self) -> Any:
        # An environment must not be used across a fork.
        if self._pid != os.getpid():
            import lmdb

            self._environment = lmdb.open(self._folder.name, map_size=1 << 30, sync=False, metasync=False)
            self._pid = os.getpid()
        return self._environment

    def put(self, key: str, data: Any) -> None:
        with self._open().begin(write=True) as transaction:
            transaction.put(key.encode(), data)

    def get(self, key: str) -> Any:
        with self._open().begin() as transaction:
            return transaction.get(key.encode())

    def view(self, key: str) -> Any:
        with self._open().begin(buffers=True) as transaction:
            return transaction.get(key.encode())

    def pop(self, key: str) -> Any:
        with self._open().begin(write=True) as transaction:
            return transaction.pop(key.encode())


# --- channels -------------------------------------------------------------------------------------


class OffgilChannel:
    def __init__(self, size: int) -> None:
        self.store = OffgilTable().store
        self._sent = self._received = 0

    def send(self, data: Any) -> None:
        self.store[str(self._sent)] = data
        self._sent += 1

    def recv(self) -> Any:
        self._received += 1
        return self.store.pop(str(self._received - 1), timeout=None)


class OffgilArrayChannel(OffgilChannel):
    """A numpy array, which is looked at where it lies."""

    def send(self, data: Any) -> None:
        import numpy as np

        super().send(np.frombuffer(data, "u1"))


class PollingChannel:
    def __init__(self, table: Any, put: Callable[[str, bytes], object], pop: Callable[[str], Any]) -> None:
        self._table, self._put, self._pop = table, put, pop
        self._sent = self._received = 0

    def send(self, data: bytes) -> None:
        self._put(str(self._sent), data)
        self._sent += 1

    def recv(self) -> Any:
        while (data := self._pop(str(self._received))) is None:
            time.sleep(POLL)
        self._received += 1
        return data


def manager_channel(size: int) -> PollingChannel:
    table = ManagerTable()
    return PollingChannel(table, table.put, lambda key: table.dict.pop(key, None))


def lmdb_channel(size: int) -> PollingChannel:
    table = LmdbTable()
    return PollingChannel(table, table.put, table.pop)


class QueueChannel:
    def __init__(self, size: int) -> None:
        queue: Any = context.Queue()
        self.send, self.recv = queue.put, queue.get


class PipeChannel:
    def __init__(self, size: int) -> None:
        receiver, sender = context.Pipe(duplex=False)
        self.send, self.recv = sender.send_bytes, receiver.recv_bytes


class FasterFifoChannel:
    def __init__(self, size: int) -> None:
        from faster_fifo import Queue

        queue = Queue(max_size_bytes=4 * size + 1_000_000, loads=bytes, dumps=bytes)
        self.send, self.recv = queue.put, lambda: queue.get(timeout=60)


class ZmqChannel:
    def __init__(self, size: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._socket: Any = None

    def connect(self, sends: bool) -> None:
        # In each process: a context must not be used across a fork.
        import zmq

        self._socket = zmq.Context().socket(zmq.PUSH if sends else zmq.PULL)
        (self._socket.bind if sends else self._socket.connect)(f"ipc://{self._folder.name}/socket")

    def send(self, data: bytes) -> None:
        self._socket.send(data, copy=False)

    def recv(self) -> Any:
        return self._socket.recv(copy=False).buffer


class RedisChannel:
    def __init__(self, size: int) -> None:
        if not shutil.which("redis-server"):
            raise ImportError("redis-server is not on PATH")
        import redis  # noqa: F401 - where it is missing, no server is started

        self._folder = tempfile.TemporaryDirectory()
        self._path = f"{self._folder.name}/socket"
        options = ["--port", "0", "--unixsocket", self._path, "--save", "", "--dir", self._folder.name]
        self._server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        while not os.path.exists(self._path):
            time.sleep(0.01)
        self._client: Any = None

    def connect(self, sends: bool) -> None:
        import redis

        self._client = redis.Redis(unix_socket_path=self._path)

    def send(self, data: bytes) -> None:
        self._client.rpush("q", data)

    def recv(self) -> Any:
        return self._client.blpop("q")[1]

    def close(self) -> None:
        self._server.terminate()
        self._server.wait()


class Iceoryx2Channel:
    """Publish and subscribe, and an event that wakes the subscriber."""

    def __init__(self, size: int) -> None:
        import iceoryx2

        iceoryx2.set_log_level(iceoryx2.LogLevel.Fatal)
        self._size, self._name = size, f"offgil-{os.getpid()}"

    def connect(self, sends: bool) -> None:
        import iceoryx2 as iox2

        self._node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
        name = iox2.ServiceName.new(self._name)
        data = self._node.service_builder(name).publish_subscribe(iox2.Slice[ctypes.c_uint8]).open_or_create()
        event = self._node.service_builder(name).event().open_or_create()
        if sends:
            self._publisher = data.publisher_builder().initial_max_slice_len(self._size).create()
            self._notifier = event.notifier_builder().create()
        else:
            self._subscriber = data.subscriber_builder().create()
            self._listener = event.listener_builder().create()
            self._second = iox2.Duration.from_secs(1)

    def send(self, data: bytes) -> None:
        sample = self._publisher.loan_slice_uninit(len(data))
        ctypes.memmove(sample.payload_ptr, data, len(data))
        sample.assume_init().send()
        self._notifier.notify()

    def recv(self) -> Any:
        while (sample := self._subscriber.receive()) is None:
            self._listener.timed_wait(self._second)
        return sample


TABLES: dict[str, Callable[[], Any]] = {
    "offgil": OffgilTable,
    "Manager().dict()": ManagerTable,
    "UltraDict": UltraDictTable,
    "lmdb": LmdbTable,
}
CHANNELS: dict[str, Callable[[int], Any]] = {
    "offgil": OffgilChannel,
    "offgil, array": OffgilArrayChannel,
    "Manager().dict(), polls": manager_channel,
    "lmdb, polls": lmdb_channel,
    "Queue": QueueChannel,
    "Pipe": PipeChannel,
    "pyzmq": ZmqChannel,
    "faster-fifo": FasterFifoChannel,
    "iceoryx2": Iceoryx2Channel,
    "Redis": RedisChannel,
}
