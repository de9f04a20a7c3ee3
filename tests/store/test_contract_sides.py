"""What every result store promises across its border: between threads, and between processes where it crosses them."""

from __future__ import annotations

import asyncio

import pytest

import offgil
from offgil import Closed, ResultStore, StoreTimeout
from store_sides import Processes, Threads, until, until_blocked, until_parked

Side = Threads | Processes


# What the other side does.  Functions of the module: a process gets them by name.


def wait(store: ResultStore, key: str) -> object:
    return store.wait(key, timeout=60)


def pop(store: ResultStore, key: str) -> object:
    return store.pop(key, timeout=60)


def take(store: ResultStore, topic: str) -> object:
    return store.take(topic, timeout=60)


def collect(store: ResultStore, keys: list[str]) -> list[tuple[str, object]]:
    return list(store.as_completed(keys, timeout=60))


def await_future(store: ResultStore, key: str) -> object:
    return store.future(key).result(timeout=60)


def await_task(store: ResultStore, key: str) -> object:
    return asyncio.run(store.wait_async(key, timeout=60))


def put_all(store: ResultStore, prefix: str, count: int) -> int:
    for i in range(count):
        store.put(f"{prefix}{i}", i, topic="jobs", priority=i % 64)
    return count


def take_until_none(store: ResultStore) -> list[str]:
    taken: list[str] = []
    while True:
        key, value = store.take("jobs", timeout=60)
        if value is None:
            return taken
        taken.append(key)


def put_failure(store: ResultStore, key: str) -> None:
    store.put_exception(key, ValueError("from the other side"), ttl=1000)


def fill(store: ResultStore, key: str) -> None:
    with store.reserve(key, 100_000) as view:
        view[:] = b"abcde" * 20_000


def put_if_absent(store: ResultStore, key: str, value: int) -> bool:
    return store.put(key, value, if_absent=True)


@pytest.mark.parametrize("call", [wait, pop, await_future, await_task])
def test_a_put_here_ends_a_wait_there(bordered: ResultStore, side: Side, call: object) -> None:
    join = side.start(call, bordered, "k")  # type: ignore[arg-type]
    until_parked(bordered)
    bordered["k"] = {"a": [1, "ключ"]}
    assert join() == {"a": [1, "ключ"]}
    assert ("k" in bordered) is (call is not pop)


def test_a_put_there_ends_a_wait_here(bordered: ResultStore, side: Side) -> None:
    join = side.start(put_all, bordered, "k", 1)
    assert bordered.wait("k0", timeout=60) == 0
    assert bordered.take("jobs", timeout=60) == ("k0", 0)
    assert join() == 1


def test_take_there(bordered: ResultStore, side: Side) -> None:
    join = side.start(take, bordered, "t")
    until_parked(bordered)
    bordered["other"] = 0
    bordered.put("k", 1, topic="t")
    assert join() == ("k", 1)


def test_many_keys_at_once_there(bordered: ResultStore, side: Side) -> None:
    keys = [f"k{i}" for i in range(100)]
    join = side.start(collect, bordered, keys)
    until_parked(bordered)
    for key in reversed(keys):
        bordered[key] = key
    got = join()
    assert sorted(got) == sorted((key, key) for key in keys)


def test_exceptions_cross(bordered: ResultStore, side: Side) -> None:
    side.start(put_failure, bordered, "k")()
    with pytest.raises(ValueError, match="from the other side"):
        bordered.wait("k", timeout=60)


def test_reserved_memory_crosses(bordered: ResultStore, side: Side) -> None:
    join = side.start(fill, bordered, "k")
    assert bordered.wait("k", timeout=60) == b"abcde" * 20_000
    assert bordered.view("k")[5:10] == b"abcde"
    join()


def test_if_absent_has_one_winner(bordered: ResultStore, side: Side) -> None:
    for key in "abc":
        joins = [side.start(put_if_absent, bordered, key, i) for i in range(3)]
        won = [join() for join in joins]
        assert won.count(True) == 1
        assert bordered[key] == won.index(True)


def test_each_entry_goes_to_one_taker(bordered: ResultStore, side: Side) -> None:
    takers = [side.start(take_until_none, bordered) for _ in range(2)]
    putters = [side.start(put_all, bordered, f"{me}/", 300) for me in range(2)]
    assert [join() for join in putters] == [300, 300]
    until(lambda: bordered.stats().takes == 600, "the last entry")
    for i in range(2):
        bordered.put(f"stop{i}", None, topic="jobs")
    taken = [key for join in takers for key in join()]
    assert sorted(taken) == sorted(f"{me}/{i}" for me in range(2) for i in range(300))
    with pytest.raises(StoreTimeout):
        bordered.take("jobs", timeout=0)


@pytest.mark.parametrize("call", [wait, pop, take, await_future, await_task])
def test_close_ends_a_wait_there(bordered: ResultStore, side: Side, call: object) -> None:
    join = side.start(call, bordered, "k")  # type: ignore[arg-type]
    until_parked(bordered)
    bordered.close()
    with pytest.raises(Closed):
        join()


def test_a_take_here_lets_a_put_there_in(border: str, side: Side) -> None:
    with offgil.open_store(border.partition("-")[0], max_entries=1, on_full="block") as store:
        store.put("full", 1, topic="t")
        join = side.start(put_all, store, "k", 1)
        until_blocked(store)
        assert store.take("t") == ("full", 1)
        assert join() == 1
        assert store["k0"] == 0
