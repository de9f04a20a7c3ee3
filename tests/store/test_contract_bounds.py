"""What every result store promises of limits: time to live, and room."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from offgil import Closed, ResultStore, StoreFull, StoreTimeout
from store_sides import MakeStore, in_background, until, until_blocked


def until_gone(store: ResultStore, key: str) -> None:
    until(lambda: key not in store, f"the expiry of {key!r}")


class TestTtl:
    def test_lives_until_it_is_over(self, store: ResultStore) -> None:
        store.put("short", 1, ttl=0.05)
        store.put("long", 2, ttl=1000)
        store.put("endless", 3, ttl=float("inf"))
        until_gone(store, "short")
        assert sorted(store) == ["endless", "long"]
        assert store["long"] == 2

    def test_expired_is_absent_to_all(self, store: ResultStore) -> None:
        for key in "abcdefgh":
            store.put(key, key, ttl=0.02, topic="t")
        until_gone(store, "a")
        with pytest.raises(KeyError):
            store["b"]
        assert store.get("c", "default") == "default"
        assert store.pop("d", None) is None
        with pytest.raises(KeyError):
            del store["e"]
        with pytest.raises(StoreTimeout):
            store.wait("f", timeout=0)
        with pytest.raises(StoreTimeout):
            store.take("t", timeout=0)
        assert list(store.as_completed([], timeout=0)) == []
        with pytest.raises(StoreTimeout):
            next(store.as_completed(["g"], timeout=0))
        with pytest.raises(KeyError):
            store.view("g")
        assert store.put("h", 1, if_absent=True) is True
        assert list(store) == ["h"]
        assert [entry.key for entry in store.snapshot()] == ["h"]
        assert len(store) == 1
        assert store == {"h": 1}

    def test_a_replacement_has_a_life_of_its_own(self, store: ResultStore) -> None:
        store.put("a", 1, ttl=0.02)
        store.put("b", 1, ttl=0.02)
        store["a"] = 2
        store.put("c", 1)
        store.put("c", 2, ttl=0.02)
        until_gone(store, "b")
        until_gone(store, "c")
        assert store["a"] == 2

    def test_waiters_outlive_an_expiry(self, store: ResultStore) -> None:
        store.put("k", 1, ttl=0.02)
        until_gone(store, "k")
        join = in_background(lambda: store.wait("k"))
        store["k"] = 2
        assert join() == 2

    def test_memory_is_released_by_other_calls(self, store: ResultStore) -> None:
        for i in range(200):
            store.put(f"k{i}", i, ttl=0.02)
        until_gone(store, "k0")
        # Nobody asks for k1 … k199 again; what else is done in the store releases them.
        limit = time.monotonic() + 30
        while store.stats().entries > 1:
            assert time.monotonic() < limit, f"{store.stats().entries} expired entries are still held"
            store["other"] = 1
        assert store.stats().expired == 200

    @pytest.mark.parametrize("ttl", [0, -1, float("nan")])
    def test_values_that_make_no_sense(self, store: ResultStore, ttl: float) -> None:
        with pytest.raises(ValueError, match="ttl"):
            store.put("k", 1, ttl=ttl)
        assert "k" not in store

    def test_must_be_a_number(self, store: ResultStore) -> None:
        with pytest.raises(TypeError):
            store.put("k", 1, ttl="soon")  # type: ignore[arg-type]


class TestRaise:
    def test_is_the_default(self, make_store: MakeStore) -> None:
        store = make_store(max_entries=2)
        store.update(a=1, b=2)
        with pytest.raises(StoreFull, match="'c'"):
            store["c"] = 3
        with pytest.raises(StoreFull):
            store.put_exception("c", ValueError())
        assert store.stats().entries_limit == 2
        assert dict(store) == {"a": 1, "b": 2}

    def test_a_replacement_needs_no_room(self, make_store: MakeStore) -> None:
        store = make_store(max_entries=2)
        store.update(a=1, b=2)
        store["a"] = 3
        assert store["a"] == 3

    @pytest.mark.parametrize(
        "leave",
        [
            lambda store: store.pop("a"),
            lambda store: store.take(),
            lambda store: store.popitem(),
            lambda store: store.__delitem__("a"),
            lambda store: store.clear(),
        ],
    )
    def test_what_leaves_makes_room(self, make_store: MakeStore, leave: Callable[[ResultStore], object]) -> None:
        store = make_store(max_entries=1)
        store["a"] = 1
        leave(store)
        store["b"] = 1
        with pytest.raises(StoreFull):
            store["c"] = 1

    def test_so_does_what_expires(self, make_store: MakeStore) -> None:
        store = make_store(max_entries=1)
        store.put("a", 1, ttl=0.02)
        until(lambda: not store.snapshot(), "the expiry")
        store["b"] = 1


class TestBlock:
    def test_waits_for_room(self, make_store: MakeStore) -> None:
        store = make_store(max_entries=1, on_full="block")
        store["a"] = 1
        join = in_background(lambda: store.put("b", 2))
        until_blocked(store)
        assert "b" not in store
        assert store.take() == ("a", 1)
        assert join() is True
        assert store["b"] == 2
        assert store.stats().blocked == 0

    def test_gives_up(self, make_store: MakeStore) -> None:
        store = make_store(max_entries=1, on_full="block")
        store["a"] = 1
        for timeout in (0, 0.02):
            with pytest.raises(StoreFull, match="'b'"):
                store.put("b", 2, timeout=timeout)
        assert dict(store) == {"a": 1}

    def test_an_expiry_lets_it_in(self, make_store: MakeStore) -> None:
        store = make_store(max_entries=1, on_full="block")
        store.put("a", 1, ttl=0.05)
        assert store.put("b", 2) is True
        assert dict(store) == {"b": 2}

    def test_close_wakes_it(self, make_store: MakeStore) -> None:
        store = make_store(max_entries=1, on_full="block")
        store["a"] = 1
        join = in_background(lambda: store.put("b", 2))
        until_blocked(store)
        store.close()
        with pytest.raises(Closed):
            join()

    def test_nothing_is_lost_through_a_narrow_bound(
        self, make_store: MakeStore, in_parallel: Callable[..., list[object]]
    ) -> None:
        store = make_store(max_entries=2, on_full="block")
        each = 200

        def produce(me: int) -> None:
            for i in range(each):
                store.put(f"{me}/{i}", i)

        def consume() -> list[str]:
            return [store.take()[0] for _ in range(each)]

        results = in_parallel(lambda: produce(0), lambda: produce(1), consume, consume)
        taken = [*results[2], *results[3]]  # type: ignore[misc]
        assert sorted(taken) == sorted(f"{me}/{i}" for me in range(2) for i in range(each))


class TestEvict:
    def test_drops_what_was_used_least_recently(self, make_store: MakeStore) -> None:
        store = make_store(max_entries=3, on_full="evict")
        store.update(a=1, b=2, c=3)
        assert store["a"] == 1
        store["d"] = 4
        assert sorted(store) == ["a", "c", "d"]
        assert store.stats().evicted == 1

    def test_drops_what_has_expired_first(self, make_store: MakeStore) -> None:
        store = make_store(max_entries=2, on_full="evict")
        store["a"] = 1
        store.put("b", 2, ttl=0.02)
        until(lambda: len(store.snapshot()) == 1, "the expiry")
        store["c"] = 3
        assert dict(store) == {"a": 1, "c": 3}
        assert store.stats().evicted == 0


class TestOptions:
    @pytest.mark.parametrize("options", [{"max_entries": 0}, {"max_bytes": 0}, {"on_full": "wait"}])
    def test_that_make_no_sense(self, make_store: MakeStore, options: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=next(iter(options))):
            make_store(**options)

    @pytest.mark.parametrize("options", [{"max_entries": 1.5}, {"max_bytes": "1 MiB", "sizeof": len}])
    def test_of_another_type(self, make_store: MakeStore, options: dict[str, object]) -> None:
        with pytest.raises(TypeError, match=f"{next(iter(options))} must be an int"):
            make_store(**options)

    def test_reserved_sizes_are_checked(self, store: ResultStore) -> None:
        with pytest.raises(TypeError, match="nbytes must be an int"), store.reserve("k", 1.5):  # type: ignore[arg-type]
            raise AssertionError("it was reserved")

    def test_timeouts_are_checked(self, store: ResultStore) -> None:
        with pytest.raises(ValueError, match="timeout"):
            store.put("k", 1, timeout=-1)
        assert "k" not in store
