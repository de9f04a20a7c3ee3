"""Interpreters that end while daemon threads are in a call of offgil's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from offgil.runtime import interpreter

if not interpreter().gil_enabled and sys.version_info < (3, 14):
    # Seen with nothing but `sys.modules.get("numpy")` in four threads, in 6 of 60 programs.
    pytest.skip("3.13t may hang at its end: a thread that it stops may get a dict's lock", allow_module_level=True)

PROGRAM = """
import sys, threading, time
import offgil

class Lengthy:
    def __init__(self, number=0):
        self.number = number
    def __reduce__(self):
        count()
        return Lengthy, (self.number,)
    def __del__(self):
        count()

def count(value=None):
    # A thread gives up the GIL between the turns of a loop; while it is finalized, that is where it ends.
    for i in range(200):
        pass
    return i

def pieces():
    for _ in range(5):
        count()
        yield b"x" * 100

url = {url!r}
{setup}

def once():
    try:
        {call}
    except offgil.OffgilError:
        pass

def again_and_again():
    while True:
        once()

once()  # what is imported at first use is not the matter here
sys.setswitchinterval(1e-4)
for _ in range(4):
    threading.Thread(target=again_and_again, daemon=True).start()
time.sleep(0.1)
"""

CLIENT = "client = offgil.Client()"
CALLS = {
    "get": (CLIENT, "client.get(url)"),
    "a refused connection": (CLIENT, "client.get('http://127.0.0.1:1/')"),
    "map": (CLIENT, "list(client.map([url] * 5))"),
    "stream": (CLIENT, "client.stream('GET', url).read()"),
    "a body from an iterable": (CLIENT, "client.post(url, content=pieces())"),
    "cancel": (CLIENT + "; token = offgil.CancelToken()", "token.cancel(); client.get(url, cancel=token)"),
}
for kind in ("shared", "managed"):
    store = f"store = offgil.open_store({kind!r})"
    CALLS |= {
        f"wait, {kind}": (store, "store.wait('never', timeout=0.0005)"),
        f"take, {kind}": (store, "store.take(timeout=0.0005)"),
        f"as_completed, {kind}": (store, "list(store.as_completed(['a', 'b'], timeout=0.0005))"),
        f"future, {kind}": (store, "waiting = store.future('a'); store['a'] = 1; waiting.result()"),
        f"values that run Python, {kind}": (store, "store['a'] = Lengthy(); store.get('a')"),
        f"large values, {kind}": (store, "store['a'] = bytes(3_000_000); store.get('a')"),
    }
CALLS["a size function"] = (
    "store = offgil.SharedStateStore(sizeof=count, max_bytes=1000)",
    "store['a'] = 1",
)


@pytest.mark.parametrize("what", CALLS)
def test_threads_in_a_call(tmp_path: Path, llm: str, what: str) -> None:
    if "managed" in what and sys.platform != "linux":
        pytest.skip("the managed-dict store needs Linux")
    setup, call = CALLS[what]
    path = tmp_path / "program.py"
    path.write_text(PROGRAM.format(url=llm + "/health", setup=setup, call=call))
    done = subprocess.run([sys.executable, str(path)], timeout=60, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
