"""Bytes flipped anywhere in a managed-dict store's memory: typed errors, never a signal, never a hang.

Each round runs in a child: it makes a store, damages it, and does with it what programs do.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable

import pytest

from offgil.errors import OffgilError

if sys.platform != "linux":
    pytest.skip("the managed-dict store needs Linux", allow_module_level=True)

from offgil.store.managed import ManagedDictStore

#: The soak (ci/soak) runs many more.
ROUNDS = int(os.environ.get("OFFGIL_FUZZ_ROUNDS", "150"))

#: An operation takes less than half a second even if it finds a lock that nobody holds.  A hang is what ends at this
#: bound, which leaves a busy machine its time.
SECONDS = 10


def populate(store: ManagedDictStore, dice: random.Random) -> None:
    values = [None, 1, 1.5, "text", b"x" * 200, b"y" * 70_000, [1, {"a": b"z" * 5000}], 1 << 100, bytearray(9000)]
    for i in range(60):
        key = f"key{i}" if i % 3 else f"a key that is too long to lie in its record, whatever room there may be {i}"
        ttl = dice.choice((None, None, 0.001, 1000))
        store.put(key, dice.choice(values), priority=i % 64, topic=dice.choice((None, "t", "u")), ttl=ttl)
    store.put_exception("failed", ValueError(1))
    for i in range(0, 60, 7):
        store.pop(f"key{i}", None)


def damage(store: ManagedDictStore, dice: random.Random) -> None:
    fd = store._table.fileno()
    size = os.fstat(fd).st_size
    with mmap.mmap(fd, size) as memory:
        places: list[int] = []
        end = 0
        # Only what is in use: all else is nothing but zeros.
        while len(places) < 100_000:
            try:
                start = os.lseek(fd, end, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(fd, start, os.SEEK_HOLE)
            places += range(start, end)
        for _ in range(dice.choice((1, 1, 2, 8, 64))):
            place = dice.choice(places)
            if dice.random() < 0.7:
                # Rather a byte that says something.
                place = next((p for p in range(place, min(place + 4096, size)) if memory[p]), place)
            memory[place] = dice.choice((memory[place] ^ (1 << dice.randrange(8)), dice.randrange(256), 0xFF, 0))


def use(store: ManagedDictStore, dice: random.Random) -> None:
    keys = [f"key{i}" for i in range(0, 70, 3)] + [None]

    def attempt(operation: Callable[[str], object]) -> None:
        signal.alarm(SECONDS)
        try:
            operation(dice.choice(keys) or "a key that is too long to lie in its record, whatever room there may be 3")
        except (OffgilError, KeyError):
            pass
        except ValueError as exc:
            if exc.args != (1,):  # the one that is stored
                raise

    def reserve(key: str) -> None:
        with store.reserve(key, 10_000) as view:
            view[:] = b"r" * 10_000

    def every(_: str) -> None:
        for _ in store.values():
            pass

    operations: list[Callable[[str], object]] = [
        lambda key: store[key],
        lambda key: store.put(key, b"w" * dice.choice((10, 2000, 50_000))),
        lambda key: store.put(key, 1, topic=dice.choice(("t", "new")), ttl=dice.choice((None, 0.001))),
        store.pop,
        lambda key: store.take(dice.choice((None, "t", "u")), timeout=0),
        lambda key: store.wait(key, timeout=0.001),
        lambda key: list(store.as_completed([key, "none"], timeout=0.001)),
        lambda key: bytes(store.view(key)),
        reserve,
        every,
        lambda _: store.snapshot(),
        lambda key: (store.stats(), len(store), list(store)),
        lambda _: store._table.processes(),
        lambda key: store.put(key, bytes(5 << 20)),  # never fits: looks for room everywhere
        lambda key: store.clear() if dice.random() < 0.1 else None,
    ]
    for _ in range(60):
        attempt(dice.choice(operations))


def one_round(seed: int) -> None:
    dice = random.Random(seed)
    policy = dice.choice(("raise", "evict"))
    store = ManagedDictStore(max_bytes=4 << 20, max_entries=dice.choice((None, 90)), on_full=policy)  # type: ignore[arg-type]
    populate(store, dice)
    damage(store, dice)
    use(store, dice)
    damage(store, dice)
    use(store, dice)
    store.close()


@pytest.mark.parametrize("part", range(5))
def test_damage_is_an_error_and_nothing_worse(part: int) -> None:
    first = int(os.environ.get("OFFGIL_FUZZ_SEED", "0")) + part * ROUNDS
    for seed in range(first, first + ROUNDS // 5):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                faulthandler.disable()
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(SECONDS)
                one_round(seed)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code == 0, f"seed {seed}: exit code {code}"
