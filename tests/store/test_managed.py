"""The managed-dict store between real processes: handing over, killing, closing, and its limits."""

from __future__ import annotations

import fcntl
import gc
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from offgil.errors import Closed, CodecError, KeyTooLong, StoreCorrupted, StoreFull, StoreTimeout, StoreUnavailable

if sys.platform != "linux":
    pytest.skip("the managed-dict store needs Linux", allow_module_level=True)

from offgil import _core
from offgil.store.codec import Codec
from offgil.store.managed import ManagedDictStore

MANY_BYTES = random.Random(1).randbytes(3_000_000)


@pytest.fixture
def store() -> Iterator[ManagedDictStore]:
    with ManagedDictStore(max_bytes=64 << 20) as opened:
        yield opened


def forked(body: Callable[[], object]) -> int:
    # The child exits with 1 after an exception, else with 0.
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body()
            status = 0
        finally:
            os._exit(status)
    return pid


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_handed_to_a_child(store: ManagedDictStore, method: str) -> None:
    context = multiprocessing.get_context(method)
    store["there"] = MANY_BYTES
    putting = context.Process(target=store.put, args=("reply", [1, MANY_BYTES]), kwargs={"priority": 3})
    popping = context.Process(target=store.pop, args=("there",))
    waiting = context.Process(target=store.pop, args=("later",), kwargs={"timeout": None})
    for process in (putting, popping, waiting):
        process.start()
    assert store.wait("reply") == [1, MANY_BYTES]
    popping.join()
    assert "there" not in store
    until(lambda: store.stats().waiters == 1)
    store["later"] = 1
    putting.join()
    waiting.join()
    assert [process.exitcode for process in (putting, popping, waiting)] == [0, 0, 0]
    assert list(store) == ["reply"]


def run_program(program: str) -> None:
    # A file, because children that are spawned import the main module anew.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "program.py")
        path.write_text(program)
        done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_pickled_through_a_queue_to_a_running_process() -> None:
    run_program("""
import multiprocessing as mp
from offgil.store.managed import ManagedDictStore

def serve(inbox):
    store = inbox.get()
    again = inbox.get()
    # Both are handles of one mapping.
    assert store._table.fileno() == again._table.fileno()
    again.close()
    store["answer"] = store.wait("question") * 2

if __name__ == "__main__":
    context = mp.get_context("spawn")
    inbox = context.Queue()
    child = context.Process(target=serve, args=(inbox,))
    child.start()
    with ManagedDictStore(max_bytes=1 << 20) as store:
        inbox.put(store)
        inbox.put(store)
        store["question"] = 21
        assert store.wait("answer", timeout=60) == 42
        child.join()
        assert child.exitcode == 0 and not store.closed
""")


def test_a_process_that_was_not_given_the_memory_is_told(store: ManagedDictStore) -> None:
    reader, writer = os.pipe()
    # Whoever could hand the memory over is gone when its pickle is read.
    pid = forked(lambda: os.write(writer, pickle.dumps(store)))
    assert exit_code(pid) == 0
    with pytest.raises(StoreUnavailable, match=r"multiprocessing.*name="):
        pickle.loads(os.read(reader, 10_000))
    os.close(reader)
    os.close(writer)


def test_what_waits_in_the_parent_does_not_wait_in_the_child(store: ManagedDictStore) -> None:
    completed = store.as_completed(["a", "b"])
    future = store.future("a")

    def child() -> None:
        with pytest.raises(StoreUnavailable, match="after a fork"):
            next(completed)
        assert store.stats().waiters == 3
        # Waiting anew works.
        store["a"] = 1
        assert store.future("a").result(60) == 1
        assert next(store.as_completed(["a"])) == ("a", 1)

    assert exit_code(forked(child)) == 0
    assert future.result(60) == 1
    assert next(completed) == ("a", 1)


def test_fork_while_other_threads_use_the_store() -> None:
    run_program("""
import os, threading, warnings
from offgil.store.managed import ManagedDictStore

warnings.simplefilter("ignore")  # about fork with threads, which is the point
store = ManagedDictStore(max_bytes=32 << 20)
stop = False

def use(me):
    value = bytes(20_000)
    while not stop:
        for i in range(20):
            store[f"{me}/{i}"] = value
            store.get(f"{me}/{i + 1}")
        try:
            store.wait("never", timeout=0.0005)
        except TimeoutError:
            pass

threads = [threading.Thread(target=use, args=(i,)) for i in range(3)]
for thread in threads:
    thread.start()
for i in range(30):
    if (pid := os.fork()) == 0:
        store[f"child{i}"] = i
        assert store.pop(f"child{i}") == i
        store.get("0/1")
        store.close()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop = True
for thread in threads:
    thread.join()
assert not store.closed
""")


def test_close_by_the_creator_wakes_all_processes(store: ManagedDictStore) -> None:
    def wait() -> None:
        with pytest.raises(Closed):
            store.wait("never")
        assert store.closed

    def take() -> None:
        with pytest.raises(Closed):
            store.take("never")

    children = [forked(wait), forked(take)]
    until(lambda: store.stats().waiters == 2)
    store.close()
    assert [exit_code(pid) for pid in children] == [0, 0]


def test_close_by_a_child_is_its_own_affair(store: ManagedDictStore) -> None:
    def child() -> None:
        store["k"] = 1
        store.close()
        with pytest.raises(Closed):
            store["k"]

    assert exit_code(forked(child)) == 0
    assert not store.closed
    assert store["k"] == 1


def test_a_killed_waiter_wedges_nobody(store: ManagedDictStore) -> None:
    for call in (lambda: store.pop("k", timeout=None), lambda: store.take("jobs")):
        pid = forked(call)
        until(lambda: store.stats().waiters == 1)
        os.kill(pid, signal.SIGKILL)
        assert exit_code(pid) == -signal.SIGKILL
        # The next process takes the dead one's place and clears up after it.
        assert exit_code(forked(lambda: store.get("k"))) == 0
        until(lambda: store.stats().waiters == 0)
    survivor = forked(lambda: store.take("jobs"))
    until(lambda: store.stats().waiters == 1)
    store.put("k", "v", topic="jobs")
    assert exit_code(survivor) == 0
    assert "k" not in store


def test_survives_processes_killed_at_random() -> None:
    store = ManagedDictStore(max_bytes=4 << 20, max_entries=1000)
    dice = random.Random(3)

    def hammer(seed: int) -> None:
        mine = random.Random(seed)
        while True:
            key = f"k{mine.randrange(10)}"
            size = mine.choice((10, 1000, 60_000))
            try:
                store.put(key, bytes([size % 251]) * size, priority=mine.randrange(64), topic="children")
                store.wait(key, timeout=0.0001)
                value = store.take("children", timeout=0)[1]
                assert value == bytes([len(value) % 251]) * len(value)
            except (StoreTimeout, StoreFull):
                pass

    children = [forked(lambda seed=i: hammer(seed)) for i in range(3)]
    try:
        for i in range(150):
            time.sleep(dice.random() * 0.003)
            victim = dice.randrange(len(children))
            os.kill(children[victim], signal.SIGKILL)
            # -SIGKILL: it did not fail by itself before.
            assert exit_code(children[victim]) == -signal.SIGKILL
            store["parent"] = i
            assert store.pop("parent") == i
            children[victim] = forked(lambda seed=100 + i: hammer(seed))
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
    assert [exit_code(pid) for pid in children] == [-signal.SIGKILL] * 3
    assert all(value == bytes([len(value) % 251]) * len(value) for value in store.values())
    store.clear()
    assert store.stats().bytes_used == 0
    # Needs the memory of all whom the dead had pinned or were writing.
    store["k"] = bytes(4 << 20)


def test_the_memory_is_private_and_cannot_shrink(store: ManagedDictStore) -> None:
    fd = store._table.fileno()
    assert os.fstat(fd).st_mode & 0o777 == 0o600
    assert not os.get_inheritable(fd)
    assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    # Sparse: a new store of 64 MiB occupies next to nothing.
    assert os.fstat(fd).st_blocks * 512 < 1 << 20


def test_a_dropped_store_gives_everything_back() -> None:
    def resources() -> tuple[int, int]:
        gc.collect()
        return len(os.listdir("/proc/self/fd")), Path("/proc/self/maps").read_text().count("memfd:offgil")

    before = resources()
    for _ in range(5):
        ManagedDictStore()["k"] = bytes(100_000)
    assert resources() == before


def test_full(store: ManagedDictStore) -> None:
    store["k"] = b"old"
    with pytest.raises(StoreFull, match="no room for 104857600 bytes"):
        store["k"] = bytes(100 << 20)
    assert store["k"] == b"old"


def test_limits(store: ManagedDictStore) -> None:
    store["é" * 2048] = 1
    with pytest.raises(KeyTooLong, match="4096 bytes"):
        store["é" * 2048 + "x"] = 1
    with pytest.raises(KeyTooLong, match="240 bytes"):
        store.put("k", 1, topic="t" * 241)
    assert "k" not in store
    for wrong in (0, 1000, 1 << 60):
        with pytest.raises(ValueError, match="max_bytes"):
            ManagedDictStore(max_bytes=wrong)
        with pytest.raises(ValueError, match="max_entries"):
            ManagedDictStore(max_entries=-wrong)


def test_a_value_that_cannot_be_stored_leaves_the_old_one(store: ManagedDictStore) -> None:
    store["k"] = 1
    with pytest.raises(CodecError, match=r"'k'.*function"):
        store["k"] = lambda: None
    assert store["k"] == 1


def test_foreign_memory_is_refused() -> None:
    codec = Codec(pickle=False)
    for size, reason in ((0, "too short"), (1 << 20, "magic number")):
        with tempfile.TemporaryFile() as file:
            os.ftruncate(file.fileno(), size)
            with pytest.raises(StoreCorrupted, match=reason):
                _core.ManagedStore.attach(os.dup(file.fileno()), codec.encode, codec.decode)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 32768, 32769, 65536, 1_000_003])
@pytest.mark.parametrize("make", [bytes, lambda n: "x" * n, lambda n: "é" * (n // 2)], ids=["bytes", "str", "é"])
def test_every_way_through_memory(store: ManagedDictStore, make: Callable[[int], object], size: int) -> None:
    for key in ("k", "a key that is too long to lie in its record"):
        store[key] = make(size)
        assert store[key] == make(size)
        assert store.wait(key) == make(size)
        assert store.take() == (key, make(size))
    assert store.stats().bytes_used == 0
