"""Random sequences of operations on each store and on a plain model, side by side."""

from __future__ import annotations

from typing import Any

import pytest

import offgil
from offgil import ResultStore, StoreTimeout

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")

from hypothesis import settings, strategies  # noqa: E402
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test  # noqa: E402

KEYS = strategies.sampled_from(["", "a", "b", "ключ", "a\0b"])
TOPICS = strategies.sampled_from([None, "", "t"])
VALUES = strategies.none() | strategies.integers() | strategies.text(max_size=5)
PRIORITIES = strategies.sampled_from([0, 1, 31, 63])


class Beside(RuleBasedStateMachine):
    """The model is a dict of key -> (value, topic, priority) whose order is the order of the puts."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.store = offgil.open_store(kind)
        self.model: dict[str, tuple[Any, str | None, int]] = {}

    def teardown(self) -> None:
        self.store.close()

    @rule(key=KEYS, value=VALUES, topic=TOPICS, priority=PRIORITIES, if_absent=strategies.booleans())
    def put(self, key: str, value: Any, topic: str | None, priority: int, if_absent: bool) -> None:
        stored = self.store.put(key, value, topic=topic, priority=priority, if_absent=if_absent)
        assert stored is not (if_absent and key in self.model)
        if stored:
            self.model.pop(key, None)
            self.model[key] = (value, topic, priority)

    @rule(key=KEYS)
    def read(self, key: str) -> None:
        if key in self.model:
            assert self.store[key] == self.store.wait(key) == self.store.get(key) == self.model[key][0]
            return
        with pytest.raises(KeyError):
            self.store[key]
        with pytest.raises(StoreTimeout):
            self.store.wait(key, timeout=0)

    @rule(key=KEYS)
    def pop(self, key: str) -> None:
        missing = object()
        value, _, _ = self.model.pop(key, (missing, None, 0))
        assert self.store.pop(key, missing) == value

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        if key in self.model:
            del self.store[key]
            del self.model[key]
            return
        with pytest.raises(KeyError):
            del self.store[key]

    @rule(topic=TOPICS)
    def take(self, topic: str | None) -> None:
        queue = [(key, entry) for key, entry in self.model.items() if entry[1] == topic]
        if not queue:
            with pytest.raises(StoreTimeout):
                self.store.take(topic, timeout=0)
            return
        key, (value, _, _) = max(queue, key=lambda item: item[1][2])  # the first of the greatest
        assert self.store.take(topic, timeout=0) == (key, value)
        del self.model[key]

    @rule(key=KEYS, value=VALUES)
    def setdefault(self, key: str, value: Any) -> None:
        assert self.store.setdefault(key, value) == self.model.setdefault(key, (value, None, 0))[0]

    @rule()
    def popitem(self) -> None:
        if self.model:
            key, value = self.store.popitem()
            assert self.model.pop(key)[0] == value

    @rule()
    def clear(self) -> None:
        self.store.clear()
        self.model.clear()

    @invariant()
    def agree(self) -> None:
        expected = {key: entry[0] for key, entry in self.model.items()}
        assert self.store == expected
        assert len(self.store) == self.store.stats().entries == len(expected)
        assert sorted(self.store) == sorted(expected)


def test_beside_a_model(kind: str, store: ResultStore) -> None:
    # `store` is there for its skip only: each run of the machine makes one of its own.
    run_state_machine_as_test(
        lambda: Beside(kind),  # type: ignore[arg-type]  # any factory will do
        settings=settings(max_examples=30, stateful_step_count=40, deadline=None, database=None),
    )
