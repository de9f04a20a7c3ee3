from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import sysconfig

import pytest

import offgil

# The import that counts is the one of a fresh process in which nothing has decided about the GIL yet.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}


def run_fresh(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_warns_of_nothing() -> None:
    assert run_fresh("import offgil, offgil._core; print(offgil.__version__)")


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this interpreter cannot run without its GIL"
)
def test_import_leaves_the_gil_off() -> None:
    assert run_fresh("import offgil, offgil._core, sys; print(sys._is_gil_enabled())") == "False"


def test_public_names_are_all_there() -> None:
    run_fresh(
        "import offgil; [getattr(offgil, name) for name in offgil.__all__]; assert {*offgil.__all__} <= {*dir(offgil)}"
    )
    run_fresh("from offgil import *; Client, AsyncClient, Executor, open_store, HTTPError")
    run_fresh("import offgil; offgil.store.open_store, offgil.client.Client")


def documented() -> list[tuple[str, str | None, bool]]:
    """Each public class and function, and each public method of one, with its docstring and whether it is a class's."""
    found = []
    for name in offgil.__all__:
        value = getattr(offgil, name)
        if not inspect.isroutine(value) and not inspect.isclass(value):
            continue
        if not (inspect.isclass(value) and issubclass(value, BaseException)):
            found.append((name, inspect.getdoc(value), True))
        for member in vars(value) if inspect.isclass(value) else ():
            if not member.startswith("_") and inspect.isroutine(getattr(value, member)):
                found.append((f"{name}.{member}", inspect.getdoc(getattr(value, member)), False))
    return found


def test_what_is_public_is_documented() -> None:
    known = documented()
    assert len(known) > 100
    words = "incompatible|compatible|safe on distinct objects|safe on shared objects|atomic"
    assert [name for name, text, _ in known if not text] == []
    assert [name for name, text, top in known if top and not re.search(f"Thread-safety: ({words})", text or "")] == []


@pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux")
def test_a_worker_imports_no_network() -> None:
    loaded = run_fresh("import offgil.executor.worker, sys; print(*sys.modules)").split()
    assert "offgil.executor.worker" in loaded
    assert not {"asyncio", "http.cookiejar", "offgil.client"} & {*loaded}


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="this interpreter keeps the extension out of subinterpreters")
def test_a_subinterpreter_of_3_11_has_threads_too() -> None:
    work = """from offgil import Executor
with Executor(2, workers="threads") as executor:
    print(*executor.map(abs, [-1, -2]), flush=True)"""
    create = "import _xxsubinterpreters as subs; sub = subs.create(isolated=False)"
    assert run_fresh(f"{create}; subs.run_string(sub, {work!r})") == "1 2"
