"""What every result store promises to the process around it: signals, exit, and many threads at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

import offgil
from offgil import ResultStore, StoreTimeout


@pytest.mark.parametrize(
    "call",
    [
        "store.wait('k')",
        "store.pop('k', timeout=None)",
        "store.take()",
        "next(store.as_completed(['k', 'l']))",
        "store.put('k', 1)",
        "asyncio.run(store.wait_async('k'))",
    ],
)
def test_ctrl_c_interrupts_a_parked_main_thread(kind: str, store: ResultStore, call: str) -> None:
    program = f"""
import asyncio, threading, time, offgil
store = offgil.open_store({kind!r}, max_entries=1, on_full="block")
store.put("the one", 1, topic="t")
def tell():
    while not (store.stats().waiters or store.stats().blocked):
        time.sleep(0.001)
    print("parked", flush=True)
threading.Thread(target=tell).start()
interrupted = "not interrupted"
try:
    {call}
except KeyboardInterrupt:
    interrupted = "interrupted"
# Not above: there the traceback still holds what waited.
print(interrupted, store.stats().waiters + store.stats().blocked)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "parked\n"
        child.send_signal(signal.SIGINT)
        # The bound only tells "interrupted" from "hangs": a busy machine may take its time.
        assert child.communicate(timeout=60)[0] == "interrupted 0\n"
    assert child.returncode == 0


def test_a_daemon_thread_parked_at_exit_does_no_harm(kind: str, store: ResultStore) -> None:
    program = f"""
import threading, time, offgil
store = offgil.open_store({kind!r})
threading.Thread(target=store.wait, args=("k",), daemon=True).start()
while not store.stats().waiters:
    time.sleep(0.001)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_everything_at_once(store: ResultStore, in_parallel: Callable[..., list[object]]) -> None:
    keys = [f"k{i}" for i in range(5)]

    def work(me: int) -> None:
        for i in range(400):
            key = keys[(i * 7 + me) % len(keys)]
            try:
                match (i + me) % 8:
                    case 0 | 1:
                        store.put(key, (me, i), priority=i % 64, topic="t" if i % 2 else None)
                    case 2:
                        store.put(key, (me, i), if_absent=True)
                    case 3:
                        assert len(store.wait(key, timeout=0.001)) == 2
                    case 4:
                        store.pop(key, timeout=0.0005)
                    case 5:
                        store.take("t" if i % 2 else None, timeout=0)
                    case 6:
                        assert set(store) <= set(keys)
                    case _:
                        del store[key]
            except (StoreTimeout, KeyError):
                pass

    in_parallel(*[lambda me=me: work(me) for me in range(4)])
    assert store.stats().entries == len(store) == len(list(store))
    assert store.stats().waiters == 0


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(offgil.UnknownKind, match="unknown kind 5"):
        offgil.open_store(5)  # type: ignore[arg-type]
    with pytest.raises(offgil.UnknownKind, match=r"'redsi'.*'auto', 'shared', 'managed'"):
        offgil.open_store("redsi")
    with pytest.raises(offgil.StoreUnavailable, match="redis://localhost"):
        offgil.open_store("redis://localhost:6379/0")
