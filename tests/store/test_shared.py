"""What only the shared-state store promises: references, and peace with hostile ones."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable

import pytest

from offgil import Closed, SharedStateStore, StoreFull, StoreTimeout, StoreUnavailable
from store_sides import until_parked


class Thing:
    pass


@pytest.fixture
def store() -> SharedStateStore:
    return SharedStateStore()


def test_values_are_kept_by_reference(store: SharedStateStore) -> None:
    thing = Thing()
    store["k"] = thing
    assert store["k"] is thing
    assert store.wait("k") is thing
    assert store.take() == ("k", thing)
    store["k"] = thing
    assert store.pop("k") is thing


def test_no_reference_is_kept_or_lost(store: SharedStateStore) -> None:
    thing = Thing()
    before = sys.getrefcount(thing)
    for i in range(100):
        store["k"] = thing
        store[f"k{i}"] = thing
        store.put("k", thing, if_absent=True)
        assert store["k"] is thing
        assert store.pop("k", None) is thing
        with pytest.raises(StoreTimeout):
            store.take("empty", timeout=0)
    store.clear()
    assert sys.getrefcount(thing) == before
    store["k"] = thing
    store.close()
    assert sys.getrefcount(thing) == before
    with pytest.raises(Closed):
        store["k"] = thing
    assert sys.getrefcount(thing) == before


def test_a_lone_surrogate_is_a_key_like_any_other(store: SharedStateStore) -> None:
    store["\udc80"] = 1
    assert store["\udc80"] == 1
    assert list(store) == ["\udc80"]
    assert store.take() == ("\udc80", 1)


class CallsBack:
    """Uses the store, and the key that is being changed, while the store drops it."""

    def __init__(self, store: SharedStateStore, calls: list[str]) -> None:
        self.store = store
        self.calls = calls

    def __del__(self) -> None:
        try:
            self.store.put("k2", 1, topic="t")
            self.store.get("k")
            len(self.store)
            list(self.store)
        except Closed:
            pass
        self.calls.append("dropped")


@pytest.mark.parametrize(
    "drop",
    [
        lambda store: store.put("k", 1),
        lambda store: store.pop("k"),
        lambda store: store.__delitem__("k"),
        lambda store: store.take(),
        lambda store: store.clear(),
        lambda store: store.close(),
    ],
)
def test_a_finalizer_may_call_back(store: SharedStateStore, drop: Callable[[SharedStateStore], object]) -> None:
    calls: list[str] = []
    store["k"] = CallsBack(store, calls)
    drop(store)
    gc.collect()
    assert calls == ["dropped"]


def link_by_value(store: SharedStateStore, thing: Thing) -> None:
    store["self"] = store
    store.put("thing", thing, topic="t", ttl=1000)


def link_by_exception(store: SharedStateStore, thing: Thing) -> None:
    error = ValueError()
    error.thing = thing  # type: ignore[attr-defined]
    store.put_exception("k", error)


def link_by_future(store: SharedStateStore, thing: Thing) -> None:
    store.future("never").add_done_callback(lambda _: thing)


def link_by_iterator(store: SharedStateStore, thing: Thing) -> None:
    store["thing"] = thing
    thing.results = store.as_completed(["thing", "never"])  # type: ignore[attr-defined]


def link_by_loan(store: SharedStateStore, thing: Thing) -> None:
    thing.reserved = store.reserve("k", 8)  # type: ignore[attr-defined]
    thing.view = thing.reserved.__enter__()  # type: ignore[attr-defined]
    store["thing"] = thing


@pytest.mark.parametrize("link", [link_by_value, link_by_exception, link_by_future, link_by_iterator, link_by_loan])
def test_cycles_through_the_store_are_collected(link: Callable[[SharedStateStore, Thing], None]) -> None:
    store = SharedStateStore()
    thing = Thing()
    thing.store = store  # type: ignore[attr-defined]
    link(store, thing)
    gone = weakref.ref(thing)
    gc.collect()
    assert gone() is thing
    del store, thing
    gc.collect()
    assert gone() is None


def test_cycles_through_sizeof_are_collected() -> None:
    def make() -> weakref.ref[Thing]:
        thing = Thing()
        store = SharedStateStore(max_bytes=10, sizeof=lambda _: 1 if thing else 0)
        store["k"] = 1
        thing.store = store  # type: ignore[attr-defined]
        return weakref.ref(thing)

    gone = make()
    gc.collect()
    assert gone() is None


def test_a_waiting_task_is_collected_with_its_store() -> None:
    gone: list[weakref.ref[object]] = []

    async def main() -> None:
        store = SharedStateStore()
        task = asyncio.create_task(store.wait_async("never"))
        await asyncio.sleep(0)
        gone.append(weakref.ref(task))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
    gc.collect()
    assert gone[0]() is None


class HostileSize:
    """As sizeof: uses the store from within the put."""

    def __init__(self) -> None:
        self.store: SharedStateStore | None = None
        self.depth = 0

    def __call__(self, value: object) -> int:
        if self.store is not None and self.depth < 3:
            self.depth += 1
            self.store.put("inner", value)
            self.store.pop("k", None)
            list(self.store.items())
            self.depth -= 1
        return 1


class NotToBeCopied(Exception):
    def __new__(cls, *args: object, key: object = None) -> NotToBeCopied:
        if key is None:
            raise TypeError("key")
        return super().__new__(cls, *args)

    def __init__(self, *args: object, key: object) -> None:
        super().__init__(*args)


def test_exceptions_that_cannot_be_copied_are_raised_themselves(store: SharedStateStore) -> None:
    error = NotToBeCopied("x", key=1)
    store.put_exception("k", error)
    with pytest.raises(NotToBeCopied) as caught:
        store["k"]
    assert caught.value is error
    assert store.future("k").exception(timeout=30) is error


def test_a_raised_copy_can_be_added_to(store: SharedStateStore) -> None:
    error = ValueError("x")
    error.add_note("from the putter")
    store.put_exception("k", error)
    for _ in range(3):
        with pytest.raises(ValueError, match="x") as caught:
            store["k"]
        caught.value.add_note("from a reader")
        assert caught.value.__notes__ == ["from the putter", "from a reader"]
    assert store.take()[1] is error


def test_sizeof_may_call_back() -> None:
    size = HostileSize()
    store = SharedStateStore(max_bytes=100, sizeof=size)
    size.store = store
    store["k"] = 1
    assert dict(store) == {"k": 1, "inner": 1}
    assert store.stats().bytes_used == 2


@pytest.mark.parametrize(("size", "error"), [(-1, OverflowError), ("3", TypeError), (1 << 70, OverflowError)])
def test_sizeof_that_makes_no_sense(size: object, error: type[Exception]) -> None:
    store = SharedStateStore(sizeof=lambda _: size)  # type: ignore[arg-type, return-value]
    with pytest.raises(error, match="sizeof must return"):
        store["k"] = 1
    assert len(store) == 0


def test_sizeof_that_fails_leaves_the_old_result() -> None:
    def size(value: int) -> int:
        return 10 // value

    store = SharedStateStore(max_bytes=100, sizeof=size)
    store["k"] = 5
    with pytest.raises(ZeroDivisionError):
        store["k"] = 0
    assert store["k"] == 5
    with pytest.raises(StoreFull, match="max_bytes"):
        SharedStateStore(max_bytes=5, sizeof=lambda _: 6)["k"] = 1


def test_max_bytes_needs_sizeof() -> None:
    with pytest.raises(ValueError, match="sizeof"):
        SharedStateStore(max_bytes=1000)


def test_a_callback_runs_when_the_put_is_complete() -> None:
    # Inside put(): of a future, which finds the room of an entry that went straight to a waiting pop given back.
    store = SharedStateStore(max_entries=1, on_full="block")
    popper = threading.Thread(target=lambda: store.pop("k", timeout=None))
    popper.start()
    while store.stats().waiters < 1:
        pass
    future = store.future("k")
    future.add_done_callback(lambda _: store.put("then", 1, timeout=30))
    store["k"] = 1
    popper.join(60)
    assert dict(store) == {"then": 1}


def test_who_waits_is_handed_what_was_put(store: SharedStateStore) -> None:
    results = store.as_completed(["k"])
    future = store.future("k")
    thing = Thing()
    store["k"] = thing
    store["k"] = 2
    assert store.pop("k") == 2
    assert next(results) == ("k", thing)
    assert future.result() is thing


def test_a_future_keeps_its_store() -> None:
    future = SharedStateStore().future("k")
    gc.collect()
    assert not future.done()
    assert future.cancel()


def test_an_iterator_belongs_to_one_thread_at_a_time(store: SharedStateStore) -> None:
    results = store.as_completed(["a"])
    first: list[object] = []
    thread = threading.Thread(target=lambda: first.append(next(results)))
    thread.start()
    until_parked(store)
    with pytest.raises(RuntimeError, match="its own"):
        next(results)
    store["a"] = 1
    thread.join(60)
    assert first == [("a", 1)]


def test_a_snapshot_is_of_one_instant(store: SharedStateStore, in_parallel: Callable[..., list[object]]) -> None:
    # Each round moves a token, and puts the new before it removes the old: at every instant there is one, or two.
    done = threading.Event()
    store["0"] = None

    def move() -> None:
        i = 0
        while not done.is_set():
            store[str((i + 1) % 97)] = None
            del store[str(i % 97)]
            i += 1

    def look() -> set[int]:
        try:
            return {len(store.snapshot()) for _ in range(500)}
        finally:
            done.set()

    _, seen = in_parallel(move, look)
    assert seen <= {1, 2}  # type: ignore[operator]


def test_the_collector_runs_beside_everything_else(
    store: SharedStateStore, in_parallel: Callable[..., list[object]]
) -> None:
    done = threading.Event()

    def collect() -> None:
        # Without a pause between two stops of the world nobody else might get on.
        while not done.wait(0.001):
            gc.collect()

    def work(me: int) -> None:
        for i in range(100):
            store.put(f"k{i % 7}", [store, i], topic="t" if i % 3 else None)
            store.get(f"k{me}")
            with contextlib.suppress(StoreTimeout):
                store.take("t", timeout=0.0002)

    def work_then_stop() -> None:
        try:
            in_threads = [threading.Thread(target=work, args=(me,)) for me in range(2)]
            for thread in in_threads:
                thread.start()
            for thread in in_threads:
                thread.join()
        finally:
            done.set()

    in_parallel(collect, work_then_stop)
    store.clear()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_a_forked_child_is_refused(store: SharedStateStore) -> None:
    store["k"] = 1
    waiter = threading.Thread(target=lambda: store.wait("later"))
    waiter.start()
    while not store.stats().waiters:
        pass
    with warnings.catch_warnings():
        # CPython 3.12 and later warn of fork in a process with threads: that is what is tested.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        code = 1
        try:
            store["k"]
        except StoreUnavailable:
            store.close()
            fresh = SharedStateStore()
            fresh["k"] = 2
            code = 0 if fresh.take() == ("k", 2) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store["later"] = 1
    waiter.join()
    assert store["k"] == 1
