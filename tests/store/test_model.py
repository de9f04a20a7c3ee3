"""Random sequences of operations on every store and on a plain model, side by side."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import pytest

import offgil
from offgil import ResultStore, StoreFull, StoreTimeout

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")

from hypothesis import settings, strategies  # noqa: E402
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test  # noqa: E402

KINDS = ["shared", "managed"] if sys.platform == "linux" else ["shared"]
KEYS = strategies.sampled_from(["", "a", "b", "ключ", "a\0b", "x" * 100])
TOPICS = strategies.sampled_from([None, "", "t"])
VALUES = strategies.none() | strategies.integers() | strategies.text(max_size=5) | strategies.binary(max_size=5)
PRIORITIES = strategies.sampled_from([0, 1, 31, 63])
#: For ever, for longer than the test, over as soon as it is put.
TTLS = strategies.sampled_from([None, 1000.0, 1e-9])

MISSING: Any = object()


class Failed(Exception):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Failed) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)


@dataclass(frozen=True)
class Result:
    value: Any
    topic: str | None
    priority: int


class SideBySide(RuleBasedStateMachine):
    """The model is a dict whose order is the order of the puts."""

    def __init__(self, max_entries: int | None = None) -> None:
        super().__init__()
        self.max_entries = max_entries
        self.stores = [offgil.open_store(kind, max_entries=max_entries) for kind in KINDS]
        self.model: dict[str, Result] = {}

    def teardown(self) -> None:
        for store in self.stores:
            store.close()

    def full(self, key: str) -> bool:
        # A managed-dict store promises at least so many.
        return self.max_entries is not None and key not in self.model and len(self.model) >= self.max_entries

    def publish(self, store: ResultStore, key: str, result: Result, ttl: float | None) -> None:
        where: dict[str, Any] = {"topic": result.topic, "priority": result.priority, "ttl": ttl}
        if isinstance(result.value, Failed):
            store.put_exception(key, result.value, **where)
        else:
            assert store.put(key, result.value, **where) is True

    @rule(key=KEYS, value=VALUES, fails=strategies.booleans(), topic=TOPICS, priority=PRIORITIES, ttl=TTLS)
    def put(self, key: str, value: Any, fails: bool, topic: str | None, priority: int, ttl: float | None) -> None:
        result = Result(Failed(key) if fails else value, topic, priority)
        full = self.full(key)
        for store in self.stores:
            if full:
                with pytest.raises(StoreFull):
                    self.publish(store, key, result, ttl)
            else:
                self.publish(store, key, result, ttl)
        if not full:
            self.model.pop(key, None)
            if ttl != 1e-9:
                self.model[key] = result

    @rule(key=KEYS, value=VALUES)
    def put_if_absent(self, key: str, value: Any) -> None:
        full = self.full(key)
        for store in self.stores:
            if full:
                with pytest.raises(StoreFull):
                    store.put(key, value, if_absent=True)
            else:
                assert store.put(key, value, if_absent=True) is (key not in self.model)
        if not full:
            self.model.setdefault(key, Result(value, None, 0))

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        for store in self.stores:
            if key not in self.model:
                assert store.get(key, MISSING) is MISSING
                with pytest.raises(KeyError):
                    store[key]
                with pytest.raises(StoreTimeout):
                    store.wait(key, timeout=0)
                continue
            value = self.model[key].value
            if isinstance(value, Failed):
                for call in (store.__getitem__, store.get, store.wait):
                    with pytest.raises(Failed):
                        call(key)
                continue
            assert store[key] == store.wait(key) == store.get(key) == value
            if isinstance(value, bytes):
                assert store.view(key) == value

    @rule(key=KEYS)
    def pop(self, key: str) -> None:
        expected = self.model.pop(key, Result(MISSING, None, 0)).value
        for store in self.stores:
            if isinstance(expected, Failed):
                with pytest.raises(Failed):
                    store.pop(key, MISSING)
            else:
                assert store.pop(key, MISSING) == expected

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        for store in self.stores:
            if key in self.model:
                del store[key]
            else:
                with pytest.raises(KeyError):
                    del store[key]
        self.model.pop(key, None)

    @rule(topic=TOPICS)
    def take(self, topic: str | None) -> None:
        queue = [(key, result) for key, result in self.model.items() if result.topic == topic]
        if not queue:
            for store in self.stores:
                with pytest.raises(StoreTimeout):
                    store.take(topic, timeout=0)
            return
        key, result = max(queue, key=lambda item: item[1].priority)  # the first of the greatest
        for store in self.stores:
            assert store.take(topic, timeout=0) == (key, result.value)
        del self.model[key]

    @rule(keys=strategies.lists(KEYS))
    def as_completed(self, keys: list[str]) -> None:
        there = [(key, result.value) for key, result in self.model.items() if key in keys]
        missing = len(set(keys) - set(self.model))
        for store in self.stores:
            results = store.as_completed(keys, timeout=0)
            assert [next(results) for _ in there] == there
            if missing:
                with pytest.raises(StoreTimeout, match=rf"\b{missing}\b"):
                    next(results)
            else:
                assert list(results) == []

    @rule()
    def popitem(self) -> None:
        if not self.model:
            return
        # Which one is the store's own choice: the others follow the first.
        key, value = self.stores[0].popitem()
        assert value == self.model.pop(key).value
        for store in self.stores[1:]:
            del store[key]

    @rule()
    def clear(self) -> None:
        for store in self.stores:
            store.clear()
        self.model.clear()

    @invariant()
    def agree(self) -> None:
        expected = {key: result.value for key, result in self.model.items()}
        for store in self.stores:
            assert dict(store.items()) == expected
            assert len(store) == len(expected)
            assert sorted(store) == sorted(expected)
            seen = {entry.key: Result(expected[entry.key], entry.topic, entry.priority) for entry in store.snapshot()}
            assert seen == self.model


@pytest.mark.parametrize("max_entries", [None, 3])
def test_side_by_side(max_entries: int | None) -> None:
    run_state_machine_as_test(
        lambda: SideBySide(max_entries),  # type: ignore[arg-type]  # any factory will do
        settings=settings(max_examples=30, stateful_step_count=40, deadline=None, database=None),
    )
