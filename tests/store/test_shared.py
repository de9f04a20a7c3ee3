"""What only the shared-state store promises: references, and peace with hostile ones."""

from __future__ import annotations

import gc
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable

import pytest

from offgil import Closed, SharedStateStore, StoreTimeout, StoreUnavailable


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


def test_cycles_through_the_store_are_collected() -> None:
    store = SharedStateStore()
    thing = Thing()
    store["self"] = store
    store.put("thing", thing, topic="t")
    thing.store = store  # type: ignore[attr-defined]
    gone = weakref.ref(thing)
    del store, thing
    gc.collect()
    assert gone() is None


def test_the_collector_runs_beside_everything_else(
    store: SharedStateStore, in_parallel: Callable[..., list[object]]
) -> None:
    done = threading.Event()

    def collect() -> None:
        while not done.is_set():
            gc.collect()

    def work(me: int) -> None:
        for i in range(300):
            store.put(f"k{i % 7}", [store, i], topic="t" if i % 3 else None)
            store.get(f"k{me}")
            try:
                store.take("t", timeout=0.0002)
            except StoreTimeout:
                pass

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
