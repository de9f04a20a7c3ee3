"""The decisions, each in a process of its own: the state of the GIL belongs to the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from typing import Any

import pytest

from offgil import UnknownKind
from offgil.runtime import decide_store, decide_workers, interpreter

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

free_threaded_only = pytest.mark.skipif(not FREE_THREADED, reason="this interpreter was built with a GIL")
gil_build_only = pytest.mark.skipif(FREE_THREADED, reason="this interpreter was built without a GIL")

REPORT = """
import json
from offgil import runtime
now, store, workers = runtime.interpreter(), runtime.decide_store(), runtime.decide_workers()
answer = {"gil": now.gil_enabled, "cause": now.gil_cause, "store": str(store), "workers": str(workers)}
print(json.dumps(answer))
"""


def in_child(program: str = REPORT, *options: str, **environ: str) -> dict[str, Any]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHON_GIL", "OFFGIL_STORE", "OFFGIL_WORKERS")
    }
    done = subprocess.run(
        [sys.executable, *options, "-c", program],
        env=inherited | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@free_threaded_only
def test_without_a_gil_threads_share() -> None:
    assert in_child() == {
        "gil": False,
        "cause": "",
        "store": "shared-state: this interpreter was built without a GIL and it is off now",
        "workers": "threads: this interpreter was built without a GIL and it is off now",
    }


@gil_build_only
def test_with_a_gil_processes_share() -> None:
    answer = in_child()
    assert answer["gil"] is True
    assert answer["cause"] == "this interpreter was built with a GIL"
    assert answer["store"].startswith(
        "managed-dict: this interpreter has a GIL" if sys.platform == "linux" else "shared-state: the managed-dict"
    )
    assert answer["workers"].startswith("processes: this interpreter has a GIL")


@free_threaded_only
@pytest.mark.parametrize(
    ("options", "environ", "cause"),
    [
        ((), {"PYTHON_GIL": "1"}, "the GIL was turned on by PYTHON_GIL=1"),
        (("-X", "gil=1"), {}, "the GIL was turned on by -X gil=1"),
        (("-X", "gil=1"), {"PYTHON_GIL": "0"}, "the GIL was turned on by -X gil=1"),
    ],
)
def test_the_gil_was_turned_on_by_hand(options: tuple[str, ...], environ: dict[str, str], cause: str) -> None:
    answer = in_child(REPORT, *options, **environ)
    assert answer["gil"] is True
    assert answer["cause"] == cause
    assert answer["workers"] == f"processes: {cause}"


@free_threaded_only
@pytest.mark.skipif(sys.platform != "linux", reason="the managed-dict store needs Linux")
def test_an_import_between_two_decisions_is_seen(gil_module: str) -> None:
    program = f"""
import json, sys, warnings
from offgil import runtime
warnings.simplefilter("ignore", RuntimeWarning)
before = runtime.decide_store()
sys.path.insert(0, {os.path.dirname(gil_module)!r})
import needs_gil
after = runtime.decide_store()
print(json.dumps([str(before), str(after), runtime.interpreter().suspects]))
"""
    before, after, suspects = in_child(program)
    assert before.startswith("shared-state: ")
    assert after == "managed-dict: the GIL was turned on by importing `needs_gil`"
    assert list(suspects) == ["needs_gil"]


@free_threaded_only
@pytest.mark.skipif(sys.platform != "linux", reason="the managed-dict store needs Linux")
def test_an_import_between_two_stores_is_seen(gil_module: str) -> None:
    program = f"""
import json, sys, threading, warnings
import offgil
warnings.simplefilter("ignore", RuntimeWarning)
first = offgil.open_store()
sys.path.insert(0, {os.path.dirname(gil_module)!r})
import needs_gil
second = offgil.open_store()
# The first stays what it is, and is as safe with the GIL on as it was without.
thread = threading.Thread(target=lambda: first.put("k", second.wait("k")))
thread.start()
second["k"] = [1]
print(json.dumps([str(first.decision), str(second.decision), first.wait("k"), type(first).__name__]))
thread.join()
"""
    first, second, value, kind = in_child(program)
    assert first == "shared-state: this interpreter was built without a GIL and it is off now"
    assert second == "managed-dict: the GIL was turned on by importing `needs_gil`"
    assert (value, kind) == ([1], "SharedStateStore")


@pytest.mark.parametrize("environ", [{}, {"PYTHON_GIL": "1"}])
def test_a_store_says_what_the_decision_says(environ: dict[str, str]) -> None:
    # A standard build refuses PYTHON_GIL=0 only, so both run everywhere.
    program = """
import json, offgil
from offgil import runtime
with offgil.open_store() as store:
    print(json.dumps([str(store.decision), str(runtime.decide_store()), store.decision.forced]))
"""
    said, decided, forced = in_child(program, **environ)
    assert said == decided
    assert forced is False
    if environ and FREE_THREADED and sys.platform == "linux":
        assert said == "managed-dict: the GIL was turned on by PYTHON_GIL=1"


def test_an_older_interpreter_has_a_gil() -> None:
    # What 3.11 and 3.12 are: no function to ask, from before the first import of offgil on.
    program = f"import sys; sys.__dict__.pop('_is_gil_enabled', None)\n{REPORT}"
    answer = in_child(program)
    assert answer["gil"] is True
    assert answer["workers"].startswith("processes: ")
    assert not answer["store"].startswith("shared-state: this interpreter was built without")


def test_the_environment_overrides() -> None:
    answer = in_child(OFFGIL_STORE="shared", OFFGIL_WORKERS="processes")
    assert answer["store"] == "shared-state: OFFGIL_STORE asked for it"
    assert answer["workers"] == "processes: OFFGIL_WORKERS asked for it"
    assert in_child(OFFGIL_STORE="managed")["store"] == "managed-dict: OFFGIL_STORE asked for it"
    assert in_child(OFFGIL_STORE="", OFFGIL_WORKERS="auto") == in_child()


def test_an_argument_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFGIL_STORE", "managed")
    monkeypatch.setenv("OFFGIL_WORKERS", "processes")
    assert decide_store("shared").kind == "shared"
    assert decide_workers("threads").kind == "threads"
    assert decide_store("shared").forced
    assert "the caller asked for it" in str(decide_store("shared"))


def test_unknown_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownKind, match=r"'fibers'.*'threads', 'processes'"):
        decide_workers("fibers")
    monkeypatch.setenv("OFFGIL_STORE", "cloud")
    with pytest.raises(UnknownKind, match=r"OFFGIL_STORE is 'cloud'.*'shared', 'managed'"):
        decide_store()


def test_an_interpreter_without_the_question_has_a_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    # As on 3.11 and 3.12, where this test removes nothing.
    monkeypatch.delattr(sys, "_is_gil_enabled", raising=False)
    assert interpreter().gil_enabled is True


def test_other_platforms_get_the_shared_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sys, "_is_gil_enabled", raising=False)
    monkeypatch.delenv("OFFGIL_STORE", raising=False)
    decision = decide_store(managed_available=False)
    assert decision.kind == "shared"
    assert "needs Linux" in decision.reason


def test_decisions_are_values() -> None:
    decision = decide_store("shared")
    assert decision == decide_store("shared")
    with pytest.raises(AttributeError):
        decision.kind = "managed"  # type: ignore[misc]
