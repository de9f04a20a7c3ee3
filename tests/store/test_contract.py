"""What every result store promises, checked on each of them with threads."""

from __future__ import annotations

import time
from collections.abc import Callable, MutableMapping
from functools import partial

import pytest

from offgil import Closed, ResultStore, StoreTimeout
from store_sides import in_background, until_parked


class StrSubclass(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a store must not run a key's code")

    def __hash__(self) -> int:
        raise AssertionError("a store must not run a key's code")


class TestMapping:
    def test_is_one(self, store: ResultStore) -> None:
        assert isinstance(store, MutableMapping)
        assert isinstance(store, ResultStore)

    def test_set_get_delete(self, store: ResultStore) -> None:
        store["k"] = [1, 2]
        assert store["k"] == [1, 2]
        assert "k" in store
        assert len(store) == 1
        store["k"] = 2
        assert store["k"] == 2
        assert len(store) == 1
        del store["k"]
        assert "k" not in store
        with pytest.raises(KeyError) as caught:
            store["k"]
        assert caught.value.args == ("k",)
        with pytest.raises(KeyError):
            del store["k"]

    def test_none_is_a_value(self, store: ResultStore) -> None:
        store["k"] = None
        assert "k" in store
        assert store["k"] is None
        assert store.wait("k", timeout=0) is None
        assert store.get("k", 1) is None
        assert store.setdefault("k", 1) is None
        assert store.pop("k") is None

    def test_views_and_bulk(self, store: ResultStore) -> None:
        store.update({"a": 1, "b": 2}, c=3)
        assert sorted(store) == ["a", "b", "c"]
        assert sorted(store.keys()) == ["a", "b", "c"]
        assert sorted(store.items()) == [("a", 1), ("b", 2), ("c", 3)]
        assert sorted(store.values()) == [1, 2, 3]
        assert store == {"a": 1, "b": 2, "c": 3}
        assert store != {"a": 1}
        key, value = store.popitem()
        assert {"a": 1, "b": 2, "c": 3}[key] == value
        store.clear()
        assert len(store) == 0
        assert list(store) == []

    def test_iterates_over_the_keys_of_the_call(self, store: ResultStore) -> None:
        store.update(a=1, b=2)
        keys = iter(store)
        store.clear()
        store["c"] = 3
        assert sorted(keys) == ["a", "b"]

    def test_setdefault_has_one_winner(self, store: ResultStore, in_parallel: Callable[..., list[object]]) -> None:
        for round_ in range(50):
            got = in_parallel(*[partial(store.setdefault, str(round_), i) for i in range(4)])
            assert got == [store[str(round_)]] * 4

    def test_popitem_hands_each_out_once(self, store: ResultStore, in_parallel: Callable[..., list[object]]) -> None:
        expected = {f"k{i}": i for i in range(300)}
        store.update(expected)

        def drain() -> list[tuple[str, object]]:
            popped = []
            while len(store):
                try:
                    popped.append(store.popitem())
                except KeyError:
                    break
            return popped

        parts = in_parallel(drain, drain, drain)
        assert sorted(item for part in parts for item in part) == sorted(expected.items())  # type: ignore[attr-defined]
        with pytest.raises(KeyError):
            store.popitem()

    def test_items_skip_what_is_gone_when_its_turn_comes(self, store: ResultStore) -> None:
        store.update(a=1, b=2, c=3)
        items, values = iter(store.items()), iter(store.values())
        first, _ = next(items), next(values)
        store.clear()
        store[first[0]] = first[1]
        assert list(items) == []
        assert list(values) == []

    @pytest.mark.parametrize("key", ["", "ключ", "\N{SNOWMAN}" * 30, "a\0b", "x" * 500])
    def test_any_str_is_a_key(self, store: ResultStore, key: str) -> None:
        store[key] = 1
        assert store[key] == 1
        assert list(store) == [key]

    def test_str_subclasses_are_compared_by_their_value(self, store: ResultStore) -> None:
        store[StrSubclass("k")] = 1
        assert store["k"] == 1
        assert store[StrSubclass("k")] == 1
        assert type(next(iter(store))) is str

    @pytest.mark.parametrize("key", [1, None, b"k", ("k",)])
    def test_other_keys_are_refused(self, store: ResultStore, key: object) -> None:
        with pytest.raises(TypeError, match="str"):
            store[key] = 1  # type: ignore[index]
        with pytest.raises(TypeError, match="str"):
            store[key]  # type: ignore[index]
        with pytest.raises(TypeError, match="str"):
            store.wait(key, timeout=0)  # type: ignore[arg-type]
        assert key not in store


class TestPut:
    def test_replaces(self, store: ResultStore) -> None:
        assert store.put("k", 1) is True
        assert store.put("k", 2) is True
        assert store["k"] == 2

    def test_if_absent(self, store: ResultStore) -> None:
        assert store.put("k", 1, if_absent=True) is True
        assert store.put("k", 2, if_absent=True) is False
        assert store["k"] == 1

    def test_if_absent_has_one_winner(self, store: ResultStore, in_parallel: Callable[..., list[object]]) -> None:
        for round_ in range(50):
            key = str(round_)
            won = in_parallel(*[lambda i=i, key=key: store.put(key, i, if_absent=True) for i in range(4)])
            assert won.count(True) == 1
            assert store[key] == won.index(True)

    @pytest.mark.parametrize("priority", [-1, 64, 1000])
    def test_priority_out_of_range(self, store: ResultStore, priority: int) -> None:
        with pytest.raises(ValueError, match="63"):
            store.put("k", 1, priority=priority)
        assert "k" not in store

    def test_topic_must_be_a_str(self, store: ResultStore) -> None:
        with pytest.raises(TypeError):
            store.put("k", 1, topic=7)  # type: ignore[arg-type]
        assert "k" not in store


class TestWait:
    def test_for_what_is_there(self, store: ResultStore) -> None:
        store["k"] = 1
        assert store.wait("k") == 1
        assert store.wait("k", timeout=0) == 1
        assert store["k"] == 1

    def test_for_what_comes(self, store: ResultStore) -> None:
        waiting = [in_background(lambda: store.wait("k")) for _ in range(3)]
        until_parked(store, 3)
        store["other"] = 0
        store["k"] = "v"
        assert [join() for join in waiting] == ["v"] * 3
        assert store["k"] == "v"
        assert store.stats().waiters == 0

    @pytest.mark.parametrize("timeout", [0, 0.02])
    def test_timeout(self, store: ResultStore, timeout: float) -> None:
        with pytest.raises(StoreTimeout, match="'k'"):
            store.wait("k", timeout=timeout)
        with pytest.raises(TimeoutError):
            store.take(timeout=timeout)
        assert store.stats().waiters == 0

    def test_a_long_key_is_not_all_of_the_message(self, store: ResultStore) -> None:
        with pytest.raises(StoreTimeout, match=r"'é+") as caught:
            store.wait("é" * 1000, timeout=0)
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize("timeout", [-1, -0.001, float("nan")])
    def test_timeouts_that_make_no_sense(self, store: ResultStore, timeout: float) -> None:
        store["k"] = 1
        with pytest.raises(ValueError, match="timeout"):
            store.wait("k", timeout=timeout)
        with pytest.raises(ValueError, match="timeout"):
            store.pop("k", timeout=timeout)
        with pytest.raises(ValueError, match="timeout"):
            store.take(timeout=timeout)
        assert store["k"] == 1

    def test_timeout_must_be_a_number(self, store: ResultStore) -> None:
        with pytest.raises(TypeError):
            store.wait("k", timeout="soon")  # type: ignore[arg-type]

    def test_huge_timeouts_are_endless(self, store: ResultStore) -> None:
        waiting = [in_background(partial(store.wait, "k", timeout)) for timeout in (1e12, float("inf"))]
        until_parked(store, 2)
        store["k"] = 1
        assert [join() for join in waiting] == [1, 1]


class TestPop:
    def test_as_in_dict(self, store: ResultStore) -> None:
        store["k"] = 1
        assert store.pop("k") == 1
        with pytest.raises(KeyError):
            store.pop("k")
        assert store.pop("k", "default") == "default"
        assert store.pop("k", None) is None

    def test_waits(self, store: ResultStore) -> None:
        join = in_background(lambda: store.pop("k", timeout=None))
        until_parked(store)
        store["k"] = 1
        assert join() == 1
        assert "k" not in store

    def test_timeout(self, store: ResultStore) -> None:
        with pytest.raises(StoreTimeout):
            store.pop("k", timeout=0.02)
        assert store.pop("k", "default", timeout=0.02) == "default"

    def test_one_put_is_popped_once(self, store: ResultStore) -> None:
        waiting = [in_background(lambda: store.pop("k", timeout=None)) for _ in range(4)]
        until_parked(store, 4)
        for i in range(4):
            while "k" in store:
                time.sleep(0.0005)
            store["k"] = i
        assert sorted(join() for join in waiting) == [0, 1, 2, 3]  # type: ignore[type-var]


class TestTake:
    def test_priority_then_age(self, store: ResultStore) -> None:
        for i in range(100):
            store.put(f"low{i}", i, priority=1)
            store.put(f"high{i}", i, priority=63)
            store.put(f"zero{i}", i)
        expected = [(f"{name}{i}", i) for name in ("high", "low", "zero") for i in range(100)]
        assert [store.take(timeout=0) for _ in range(300)] == expected
        with pytest.raises(StoreTimeout):
            store.take(timeout=0)
        assert len(store) == 0

    def test_topics_are_apart(self, store: ResultStore) -> None:
        store.put("a", 1, topic="x")
        store.put("b", 2)
        store.put("c", 3, topic="")
        assert store.take("x", timeout=0) == ("a", 1)
        with pytest.raises(StoreTimeout):
            store.take("x", timeout=0)
        assert store.take("", timeout=0) == ("c", 3)
        assert store.take(timeout=0) == ("b", 2)

    def test_what_was_popped_is_not_taken(self, store: ResultStore) -> None:
        store.update(a=1, b=2, c=3)
        store.pop("a")
        del store["b"]
        assert store.take(timeout=0) == ("c", 3)
        with pytest.raises(StoreTimeout):
            store.take(timeout=0)

    def test_parks(self, store: ResultStore) -> None:
        join = in_background(lambda: store.take("jobs"))
        until_parked(store)
        store["elsewhere"] = 0
        store.put("k", 1, topic="jobs")
        assert join() == ("k", 1)

    def test_each_entry_goes_to_one_taker(self, store: ResultStore, in_parallel: Callable[..., list[object]]) -> None:
        each = 500

        def produce(me: int) -> list[str]:
            for i in range(each):
                store.put(f"{me}/{i}", i, priority=i % 64, topic="jobs")
            return []

        def consume() -> list[str]:
            taken: list[str] = []
            while True:
                key, value = store.take("jobs")
                if value is None:
                    return taken
                taken.append(key)

        def stop_when_all_is_taken() -> list[str]:
            while store.stats().takes < 2 * each:
                time.sleep(0.001)
            for i in range(3):
                store.put(f"stop{i}", None, topic="jobs")
            return []

        results = in_parallel(lambda: produce(0), lambda: produce(1), consume, consume, consume, stop_when_all_is_taken)
        taken = [key for part in results for key in part]  # type: ignore[attr-defined]
        assert sorted(taken) == sorted(f"{me}/{i}" for me in range(2) for i in range(each))


class TestClose:
    @pytest.mark.parametrize("call", ["wait", "pop", "take"])
    def test_wakes_waiters(self, store: ResultStore, call: str) -> None:
        calls: dict[str, Callable[[], object]] = {
            "wait": lambda: store.wait("k"),
            "pop": lambda: store.pop("k", timeout=None),
            "take": lambda: store.take("jobs"),
        }
        waiting = [in_background(calls[call]) for _ in range(3)]
        until_parked(store, 3)
        store.close()
        for join in waiting:
            with pytest.raises(Closed):
                join()

    def test_refuses_further_use(self, store: ResultStore) -> None:
        store["k"] = 1
        assert not store.closed
        store.close()
        store.close()
        assert store.closed
        uses: list[Callable[[], object]] = [
            lambda: store["k"],
            lambda: store.put("k", 1),
            lambda: store.wait("k"),
            lambda: store.pop("k", None),
            lambda: store.take(timeout=0),
            lambda: store.__delitem__("k"),
            lambda: "k" in store,
            lambda: len(store),
            lambda: list(store),
            store.clear,
        ]
        for use in uses:
            with pytest.raises(Closed):
                use()

    def test_leaving_the_with_block_closes(self, store: ResultStore) -> None:
        with store as entered:
            assert entered is store
        assert store.closed


class TestStats:
    def test_counts(self, store: ResultStore) -> None:
        store.put("a", 1)
        store.put("a", 2)
        store.put("a", 3, if_absent=True)
        store["b"] = 1
        store.pop("a")
        store.put("c", 1)
        del store["c"]
        stats = store.stats()
        assert (stats.entries, stats.puts, stats.takes, stats.waiters) == (1, 4, 1, 0)
        store.take()
        assert store.stats().takes == 2

    def test_waiters(self, store: ResultStore) -> None:
        join = in_background(lambda: store.wait("k"))
        until_parked(store)
        assert store.stats().waiters == 1
        store["k"] = 1
        join()
        assert store.stats().waiters == 0

    def test_are_frozen(self, store: ResultStore) -> None:
        with pytest.raises(AttributeError):
            store.stats().puts = 1  # type: ignore[misc]

    def test_the_decision_says_why(self, store: ResultStore, kind: str) -> None:
        assert store.decision.kind == kind
        assert str(store.decision).endswith("the caller asked for it")
