"""Whether a recorded concurrent history could have been that of one atomic map.

A history is *linearizable* (Herlihy and Wing, 1990) if each operation can be given one instant between its call and its
return such that, taken in the order of those instants, all results are right.  Operations on different keys commute, so
each key is checked by itself.  The search is Wing and Gong's (1993): of the operations that had been called before any
pending one returned, try each as the next; go back on a contradiction.  Lowe's (2017) addition makes it feasible: what
was reached once (the set of operations done, and the state) is not tried again.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from offgil import ResultStore, StoreTimeout

ABSENT = "absent"


@dataclass(frozen=True)
class Operation:
    """One call: what it did, what came of it, and when, in nanoseconds of the monotonic clock."""

    key: str
    name: str
    argument: Any
    outcome: Any
    called: int
    returned: int


#: For each operation: the state after it, given the state before it; None where the outcome contradicts the state.
Step = Callable[[Any, Any, Any], Any]

STEPS: dict[str, Step] = {
    "put": lambda state, argument, outcome: argument,
    "put_if_absent": lambda state, argument, outcome: (
        None if outcome is not (state == ABSENT) else argument if outcome else state
    ),
    "get": lambda state, argument, outcome: state if outcome == state else None,
    "contains": lambda state, argument, outcome: state if outcome is (state != ABSENT) else None,
    "pop": lambda state, argument, outcome: ABSENT if outcome == state else None,
    "delete": lambda state, argument, outcome: ABSENT if outcome is (state != ABSENT) else None,
}


class _Event:
    """A call or a return, in a doubly linked list by time."""

    __slots__ = ("after", "before", "bit", "operation", "return_")

    def __init__(self, operation: Operation | None, bit: int, return_: _Event | None) -> None:
        self.before: _Event | None = None
        self.after: _Event | None = None
        self.operation = operation
        self.bit = bit
        self.return_ = return_  #: of a call; None marks a return

    def unlink(self) -> None:
        assert self.before is not None
        self.before.after = self.after
        if self.after is not None:
            self.after.before = self.before

    def relink(self) -> None:
        assert self.before is not None
        self.before.after = self
        if self.after is not None:
            self.after.before = self


def _events(history: list[Operation]) -> _Event:
    """The head of the list."""
    timed: list[tuple[int, int, _Event]] = []
    for number, operation in enumerate(history):
        end = _Event(None, 1 << number, None)
        # Where a call and a return bear one time, the call counts as earlier: no order is claimed that was not seen.
        timed += [(operation.called, 0, _Event(operation, 1 << number, end)), (operation.returned, 1, end)]
    head = last = _Event(None, 0, None)
    for _, _, event in sorted(timed, key=lambda item: item[:2]):
        last.after, event.before = event, last
        last = event
    return head


def linearizable_key(history: list[Operation]) -> bool:
    """Whether the operations, all on one key that was absent at first, are linearizable."""
    head = _events(history)
    state: Any = ABSENT
    done = 0
    seen: set[tuple[int, Any]] = set()
    path: list[tuple[_Event, Any]] = []
    event = head.after
    while head.after is not None:
        assert event is not None
        if event.return_ is None:
            # This one has returned and is not done: what was chosen before was wrong.
            if not path:
                return False
            event, state = path.pop()
            done &= ~event.bit
            assert event.return_ is not None
            event.return_.relink()
            event.relink()
            event = event.after
            continue
        operation = event.operation
        assert operation is not None
        after = STEPS[operation.name](state, operation.argument, operation.outcome)
        if after is not None and (done | event.bit, after) not in seen:
            done |= event.bit
            seen.add((done, after))
            path.append((event, state))
            state = after
            event.unlink()
            event.return_.unlink()
            event = head.after
        else:
            event = event.after
    return True


def offences(history: Iterable[Operation]) -> dict[str, list[Operation]]:
    """The keys whose operations are not linearizable."""
    by_key: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        by_key[operation.key].append(operation)
    return {key: operations for key, operations in by_key.items() if not linearizable_key(operations)}


def record(store: ResultStore, me: int, seed: int, count: int, keys: list[str]) -> list[Operation]:
    """Do ``count`` random operations; every value that is put is put once, so that no mix-up can go unseen."""
    dice = random.Random(seed)
    history: list[Operation] = []

    def take(_: str, __: object) -> tuple[str, str]:
        return store.take(timeout=0)

    calls: dict[str, Callable[[str, str], Any]] = {
        "put": lambda key, value: store.put(key, value, priority=dice.randrange(64)),
        "put_if_absent": lambda key, value: store.put(key, value, if_absent=True),
        "get": lambda key, value: store.get(key, ABSENT),
        "contains": lambda key, value: key in store,
        "pop": lambda key, value: store.pop(key, ABSENT),
        "delete": lambda key, value: store.__delitem__(key),
        "wait": lambda key, value: store.wait(key, timeout=dice.choice([0, 0.001])),
        "take": take,
    }
    for i in range(count):
        name, key, value = dice.choice(list(calls)), dice.choice(keys), f"{me}/{i}"
        called = time.monotonic_ns()
        try:
            outcome = calls[name](key, value)
        except KeyError:
            outcome = False
        except StoreTimeout:
            # A wait or a take that found nothing for some time says nothing of one instant.
            continue
        returned = time.monotonic_ns()
        if name == "take":
            # On its key, to take is to pop.
            key, outcome = outcome
        if name == "delete":
            outcome = outcome is None
        name = {"wait": "get", "take": "pop"}.get(name, name)
        history.append(Operation(key, name, value, outcome, called, returned))
    return history
