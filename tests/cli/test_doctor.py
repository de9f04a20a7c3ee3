"""``offgil doctor`` as a command, with real imports in real children."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import offgil
from offgil.cli.doctor import doctor

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
free_threaded_only = pytest.mark.skipif(not FREE_THREADED, reason="no import can turn the GIL on in this interpreter")


def run(*args: str, **environ: str) -> Result:
    return CliRunner().invoke(doctor, args, env={"COLUMNS": "400", "PYTHON_GIL": None} | environ)


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_says_what_is_and_what_would_be_chosen() -> None:
    result = run(OFFGIL_STORE="shared")
    assert result.exit_code == 0, result.output
    for text in (
        offgil.__version__,
        sys.executable,
        sys.version.split()[0],
        "shared-state: OFFGIL_STORE asked for it",
        "threads: " if FREE_THREADED else "processes: this interpreter has a GIL",
        "libcurl",
        "OpenSSL",
    ):
        assert text in result.output


def test_json() -> None:
    result = run("--json", OFFGIL_WORKERS="processes")
    report = json.loads(result.stdout)
    assert report["interpreter"]["free_threaded_build"] is FREE_THREADED
    assert report["workers"]["kind"] == "processes"
    assert report["workers"]["forced"] is True
    assert report["libcurl"]["version"].startswith("7.") or report["libcurl"]["version"].startswith("8.")
    assert "https" in report["libcurl"]["protocols"]


def test_a_wrong_override_is_reported_and_not_fatal() -> None:
    result = run(OFFGIL_STORE="cloud")
    assert result.exit_code == 0
    assert "OFFGIL_STORE is 'cloud'" in result.output


@pytest.mark.parametrize("args", [["numpy"], ["--imports"]])
def test_imports_and_packages_go_together(args: list[str]) -> None:
    result = run(*args)
    assert result.exit_code == 2
    assert "offgil doctor --imports" in result.output


@pytest.mark.skipif(FREE_THREADED, reason="this interpreter can answer the question")
def test_a_gil_build_cannot_answer() -> None:
    result = run("--imports", "json")
    assert result.exit_code == 2
    assert "free-threaded interpreter" in result.output


@free_threaded_only
def test_a_good_import() -> None:
    result = run("--imports", "json", "offgil")
    assert result.exit_code == 0, result.output
    assert result.output == "json: leaves the GIL off\noffgil: leaves the GIL off\n"


@free_threaded_only
@pytest.mark.parametrize("python_gil", ["0", "1"])
def test_names_the_import_that_turns_the_gil_on(gil_module: str, importable: Path, python_gil: str) -> None:
    # Inside a package, which is what users import; and whatever PYTHON_GIL says here.
    package = importable / "innocent"
    package.mkdir()
    (package / "__init__.py").write_text("print('noise'); from . import needs_gil\n")
    (package / Path(gil_module).name).symlink_to(gil_module)
    result = run("--imports", "json", "innocent", PYTHON_GIL=python_gil)
    assert result.exit_code == 1
    assert result.output == (
        "json: leaves the GIL off\ninnocent: turns the GIL on, by loading innocent.needs_gil\n"
    )


@free_threaded_only
def test_imports_that_fail(importable: Path) -> None:
    (importable / "broken.py").write_text("raise RuntimeError('no luck\\ntoday')\n")
    (importable / "quits.py").write_text("import os; os._exit(3)\n")
    (importable / "crashes.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n")
    result = run("--imports", "--json", "not_there_at_all", "broken", "quits", "crashes", "json")
    assert result.exit_code == 2
    probes = json.loads(result.stdout)["imports"]
    assert [p["turns_gil_on"] for p in probes] == [None, None, None, None, False]
    assert probes[0]["error"] == "ModuleNotFoundError: No module named 'not_there_at_all'"
    assert probes[1]["error"] == "today"
    assert "exit code 3" in probes[2]["error"]
    assert "SIGKILL" in probes[3]["error"]
