"""Values that stay in the managed-dict store's memory: views, arrays, reservations, and what a fork makes of them."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from offgil.errors import CodecError, StoreFull, StoreUnavailable

if sys.platform != "linux":
    pytest.skip("the managed-dict store needs Linux", allow_module_level=True)

from offgil.store.managed import ManagedDictStore

MIB = 1 << 20


@pytest.fixture
def store() -> Iterator[ManagedDictStore]:
    with ManagedDictStore(max_bytes=8 * MIB) as opened:
        yield opened


def child_fails(body: Callable[[], object]) -> bool:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            body()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] != 0


def fill_with_something_else(store: ManagedDictStore) -> None:
    for i in range(200):
        try:
            store[f"filler{i}"] = bytes([i]) * 100_000
        except StoreFull:
            return
    raise AssertionError("the store should be full")


@pytest.mark.parametrize("size", [1, 100, 5_000, MIB])
def test_a_view_stays_whatever_becomes_of_the_key(store: ManagedDictStore, size: int) -> None:
    store["k"] = b"v" * size
    view = store.view("k")
    assert (view.readonly, view.format, view.nbytes) == (True, "B", size)
    del store["k"]
    fill_with_something_else(store)
    assert view == b"v" * size
    with pytest.raises(TypeError, match="read-only"):
        view[0] = 1
    array = np.frombuffer(view, "u1")
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    part = view[size // 2 :]
    del view, array
    store.clear()
    fill_with_something_else(store)
    assert part == b"v" * (size - size // 2)


def test_views_of_each_kind(store: ManagedDictStore) -> None:
    array = np.arange(12, dtype="i4").reshape(3, 4)
    for value, expected in (
        ("grün", "grün".encode()),
        ("", b""),
        (bytearray(b"xy"), b"xy"),
        (array, array.tobytes()),
        (np.asfortranarray(array), array.tobytes()),
        (array[:, ::2], array[:, ::2].tobytes()),
        (np.zeros((0, 3)), b""),
    ):
        store["k"] = value
        view = store.view("k")
        assert view == expected
        assert view.readonly
        assert view.format == "B"
    for value in (None, 1, [1], (b"",)):
        store["k"] = value
        with pytest.raises(CodecError, match="'k'"):
            store.view("k")
    with pytest.raises(KeyError):
        store.view("none")


def test_the_memory_goes_with_the_last_that_looks_at_it(store: ManagedDictStore) -> None:
    store["k"] = bytes(6 * MIB)
    views = [store.view("k"), store.view("k")]
    array = np.frombuffer(store.view("k"), "u1")
    assert [entry.pins for entry in store.snapshot()] == [1]
    del store["k"]
    while views:
        with pytest.raises(StoreFull):
            store["more"] = bytes(4 * MIB)
        views.pop()
    with pytest.raises(StoreFull):
        store["more"] = bytes(4 * MIB)
    del array
    store["more"] = bytes(4 * MIB)


def test_a_view_outlives_the_store() -> None:
    store = ManagedDictStore(max_bytes=MIB)
    store["k"] = b"v" * 100_000
    view = store.view("k")
    store.close()
    del store
    gc.collect()
    assert view == b"v" * 100_000


def test_a_view_may_be_dropped_by_the_collector(store: ManagedDictStore) -> None:
    class Node:
        pass

    for _ in range(20):
        store["k"] = bytes(MIB)
        node = Node()
        node.itself, node.view = node, store.view("k")  # type: ignore[attr-defined]
        gone = weakref.ref(node)
        del node
        # Now and then in the middle of other operations, on whatever thread.
        store["other"] = 1
        gc.collect()
        assert gone() is None
    store.clear()
    store["all"] = bytes(8 * MIB)


def test_a_child_keeps_what_its_parent_looked_at(store: ManagedDictStore) -> None:
    store["k"] = b"v" * MIB
    array = np.arange(100_000)
    store["a"] = array
    seen: list[Any] = [store.view("k"), store["a"]]
    ready, go = os.pipe(), os.pipe()

    def child() -> None:
        os.write(ready[1], b"x")
        os.read(go[0], 1)
        assert seen[0] == b"v" * MIB
        np.testing.assert_array_equal(seen[1], array)
        assert store["done"] == 1
        # A view of its own, beside the one that it was born with.
        store.view("done2").release()

    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            child()
            status = 0
        finally:
            os._exit(status)
    os.read(ready[0], 1)
    seen.clear()
    store.clear()
    fill_with_something_else(store)
    store.clear()
    store.update(done=1, done2=b"x")
    os.write(go[1], b"x")
    assert os.waitpid(pid, 0)[1] == 0
    # What the child held died with it.
    store.clear()
    store["all"] = bytes(8 * MIB)


def test_a_child_lets_go_of_what_it_was_born_with() -> None:
    program = """
import os, warnings
from offgil.store.managed import ManagedDictStore
warnings.simplefilter("ignore")
store = ManagedDictStore(max_bytes=2 << 20)
store["k"] = bytes(1 << 20)
view = store.view("k")
if os.fork() == 0:
    del store["k"]
    view.release()
    try:
        store["k"] = bytes(3 << 19)
    except Exception as exc:
        print(type(exc).__name__, flush=True)  # the parent looks at it still
    os._exit(0)
os.wait()
view.release()
store["k"] = bytes(3 << 19)
print("done")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("StoreFull\ndone\n", "")


def test_forks_while_other_threads_look_at_values(store: ManagedDictStore) -> None:
    program = """
import os, threading, warnings
from offgil.store.managed import ManagedDictStore

warnings.simplefilter("ignore")  # about fork with threads, which is the point
store = ManagedDictStore(max_bytes=64 << 20)
stop = False
views = {}

def use(me):
    n = 0
    while not stop:
        n += 1
        byte = bytes([n % 251])
        store[f"k{me}"] = byte * 50_000
        views[me] = (byte, store.view(f"k{me}"))

threads = [threading.Thread(target=use, args=(i,)) for i in range(3)]
for thread in threads:
    thread.start()
while len(views) < 3:
    pass
for i in range(40):
    # Not in the child: without a GIL another thread may hold the lock of the dict at the fork, and is not there then.
    seen = list(views.values())
    if (pid := os.fork()) == 0:
        for _ in range(20):
            for byte, view in seen:
                assert view == byte * 50_000
            store["child"] = bytes(10_000)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop = True
for thread in threads:
    thread.join()
views.clear()
seen.clear()
store.clear()
store["all"] = bytes(64 << 20)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_reserve(store: ManagedDictStore) -> None:
    store["k"] = "old"
    with store.reserve("k", 2 * MIB, topic="t", priority=3, ttl=100) as view:
        assert (view.readonly, view.nbytes) == (False, 2 * MIB)
        assert store["k"] == "old"
        view[:] = b"n" * (2 * MIB)
        [reserved] = [entry for entry in store.snapshot() if entry.state == "reserved"]
        assert (reserved.key, reserved.nbytes, reserved.producer) == ("k", 2 * MIB, os.getpid())
    with pytest.raises(ValueError, match="released"):
        view[0]
    [entry] = store.snapshot()
    assert (entry.state, entry.topic, entry.priority, entry.codec) == ("published", "t", 3, "bytes")
    assert entry.ttl is not None
    assert store["k"] == b"n" * (2 * MIB)

    def fail() -> None:
        with store.reserve("k", 10) as view:
            view[:] = bytes(10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store["k"] == b"n" * (2 * MIB)
    with store.reserve("k", 0):
        pass
    assert store["k"] == b""
    with pytest.raises(StoreFull):
        store.reserve("k", 9 * MIB).__enter__()
    with pytest.raises(ValueError, match="nbytes"):
        store.reserve("k", -1)
    store.clear()
    store["all"] = bytes(8 * MIB)


@pytest.mark.parametrize("look", [lambda view: np.frombuffer(view, "u1"), lambda view: view[1:], memoryview])
def test_reserved_memory_that_is_still_looked_at_is_not_published(
    store: ManagedDictStore, look: Callable[[memoryview], object]
) -> None:
    kept = []
    block = store.reserve("k", 6 * MIB)
    kept.append(look(block.__enter__()))
    with pytest.raises(BufferError, match=r"'k'.*nothing was published"):
        block.__exit__(None, None, None)
    assert "k" not in store

    # An exception in the block is not covered up.
    def fail() -> None:
        with store.reserve("k", 100) as view:
            kept.append(look(view))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(StoreFull):
        store["k"] = bytes(6 * MIB)
    kept.clear()
    store["k"] = bytes(6 * MIB)


def test_a_reservation_belongs_to_the_process_that_made_it(store: ManagedDictStore) -> None:
    block = store.reserve("k", 100_000)
    view = block.__enter__()

    def leave() -> None:
        view[:] = b"x" * 100_000
        with pytest.raises(StoreUnavailable, match="after a fork"):
            block.__exit__(None, None, None)

    assert not child_fails(leave)
    assert "k" not in store
    view[:] = b"y" * 100_000
    block.__exit__(None, None, None)
    assert store["k"] == b"y" * 100_000


def test_views_in_many_threads(store: ManagedDictStore, barrier_threads: Callable[..., list[object]]) -> None:
    def work(me: int) -> None:
        for i in range(300):
            byte = bytes([(me * 31 + i) % 251])
            with store.reserve("k", 20_000) as view:
                view[:] = byte * 20_000
            try:
                seen = store.view("k")
            except KeyError:
                continue
            assert bytes(seen) == seen[:1].tobytes() * 20_000
            if i % 3 == 0:
                store.pop("k", None)
            del seen

    barrier_threads(4, work)
    store.clear()
    assert threading.active_count() < 10
    store["all"] = bytes(8 * MIB)
