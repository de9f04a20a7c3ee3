from __future__ import annotations

import os
import subprocess
import sys
import sysconfig

import pytest

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


@pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux")
def test_a_worker_imports_no_network() -> None:
    loaded = run_fresh("import offgil.executor.worker, sys; print(*sys.modules)").split()
    assert "offgil.executor.worker" in loaded
    assert not {"asyncio", "http.cookiejar", "offgil.client"} & {*loaded}
