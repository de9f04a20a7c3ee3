"""The checker on histories that are right and wrong, and the stores' histories under the checker."""

from __future__ import annotations

import itertools

import pytest

from offgil import ResultStore
from store.linearizability import ABSENT, STEPS, Operation, linearizable_key, offences, record
from store_sides import Processes, Threads

hypothesis = pytest.importorskip("hypothesis", reason="hypothesis is not installed")

from hypothesis import given, settings, strategies  # noqa: E402


def history(*lines: tuple[int, int, str, object, object]) -> list[Operation]:
    return [Operation("k", name, argument, outcome, start, end) for start, end, name, argument, outcome in lines]


class TestChecker:
    @pytest.mark.parametrize(
        "lines",
        [
            pytest.param([], id="nothing"),
            pytest.param(
                [(1, 2, "put", "a", True), (3, 4, "get", None, "a"), (5, 6, "pop", None, "a")], id="one by one"
            ),
            pytest.param([(1, 9, "put", "a", True), (2, 3, "get", None, "a")], id="a read of a put that still runs"),
            pytest.param([(1, 9, "put", "a", True), (2, 3, "get", None, ABSENT)], id="a read before it"),
            pytest.param(
                [
                    (1, 9, "put", "a", True),
                    (1, 9, "put", "b", True),
                    (2, 3, "get", None, "b"),
                    (4, 5, "get", None, "a"),
                ],
                id="two puts in the order that the reads say",
            ),
            pytest.param(
                [(1, 5, "put_if_absent", "a", False), (2, 4, "put", "b", True), (6, 7, "delete", None, True)],
                id="a loser that began first",
            ),
            pytest.param([(1, 2, "put", "a", True), (2, 3, "get", None, ABSENT)], id="one time for return and call"),
        ],
    )
    def test_accepts(self, lines: list[tuple[int, int, str, object, object]]) -> None:
        assert linearizable_key(history(*lines))

    @pytest.mark.parametrize(
        "lines",
        [
            pytest.param([(1, 2, "get", None, "a"), (3, 4, "put", "a", True)], id="a read from the future"),
            pytest.param([(1, 2, "put", "a", True), (3, 4, "get", None, ABSENT)], id="a lost put"),
            pytest.param(
                [(1, 2, "put", "a", True), (3, 4, "put", "b", True), (5, 6, "get", None, "a")], id="a stale read"
            ),
            pytest.param(
                [
                    (1, 2, "put", "a", True),
                    (3, 9, "put", "b", True),
                    (4, 5, "get", None, "b"),
                    (6, 7, "get", None, "a"),
                ],
                id="new, then old",
            ),
            pytest.param(
                [(1, 2, "put", "a", True), (3, 9, "pop", None, "a"), (3, 9, "pop", None, "a")], id="popped twice"
            ),
            pytest.param([(1, 9, "put_if_absent", "a", True), (1, 9, "put_if_absent", "b", True)], id="two winners"),
            pytest.param([(1, 9, "put_if_absent", "a", False), (1, 9, "put_if_absent", "b", False)], id="no winner"),
            pytest.param([(1, 2, "put", "a", True), (3, 4, "contains", None, False)], id="not there"),
            pytest.param(
                [(1, 2, "put", "a", True), (3, 4, "delete", None, True), (5, 6, "get", None, "a")], id="back again"
            ),
            pytest.param([(1, 2, "put", "a", True), (3, 4, "get", None, "b")], id="a value that nobody put"),
        ],
    )
    def test_rejects(self, lines: list[tuple[int, int, str, object, object]]) -> None:
        assert not linearizable_key(history(*lines))
        # Wherever such a thing hides, and whatever else goes on meanwhile on this key before, and on others.
        before = history((-9, -2, "put", "z", True), (-8, -3, "get", None, ABSENT), (-1, 0, "pop", None, "z"))
        assert not linearizable_key(before + history(*lines))
        others = [Operation("other", "put", "x", True, 1, 9)]
        assert list(offences([*others, *history(*lines)])) == ["k"]

    @given(
        strategies.lists(
            strategies.tuples(
                strategies.integers(0, 12),
                strategies.integers(1, 8),
                strategies.sampled_from(sorted(STEPS)),
                strategies.sampled_from("ab"),
                strategies.sampled_from([ABSENT, "a", "b", True, False]),
            ),
            max_size=5,
        )
    )
    @settings(max_examples=500, deadline=None, database=None)
    def test_agrees_with_trying_every_order(self, lines: list[tuple[int, int, str, str, object]]) -> None:
        operations = history(*[(start, start + length, *rest) for start, length, *rest in lines])
        assert linearizable_key(operations) is any(map(is_an_order, itertools.permutations(operations)))


def is_an_order(operations: tuple[Operation, ...]) -> bool:
    if any(later.returned < earlier.called for earlier, later in itertools.combinations(operations, 2)):
        return False
    state: object = ABSENT
    for operation in operations:
        state = STEPS[operation.name](state, operation.argument, operation.outcome)
        if state is None:
            return False
    return True


def test_what_the_stores_do_is_linearizable(bordered: ResultStore, side: Threads | Processes) -> None:
    keys = ["a", "b", "ключ"]
    joins = [side.start(record, bordered, me, me, 400, keys) for me in range(3)]
    histories = [join() for join in joins]
    assert [len(each) > 100 for each in histories] == [True] * 3
    assert offences(operation for each in histories for operation in each) == {}
