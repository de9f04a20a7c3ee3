"""``offgil compare``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from offgil.compare.report import Row, disagreements, table


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "offgil.cli", "compare", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300, check=False)


@pytest.mark.skipif(sys.platform != "linux", reason="half of the settings need Linux")
def test_the_built_in_workloads_give_one_answer(tmp_path: Path) -> None:
    done = run("--quick", "--json", "report.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all answers are the same\n")
    rows = json.loads((tmp_path / "report.json").read_text())
    settings = {(row["workload"], row["workers"], row["store"]) for row in rows}
    assert settings == {
        ("fetch", None, None),
        ("fetch+compute", "threads", None),
        ("fetch+compute", "processes", None),
        ("store", None, "shared"),
        ("store", None, "managed"),
        ("executor", "threads", None),
        ("executor", "processes", None),
    }
    assert all(len(row["digests"]) == 1 and row["microseconds"] > 0 and row["items"] >= 200 for row in rows)
    # On one interpreter the runtime chooses one of each.
    assert sum(row["is_chosen"] for row in rows) == 4


OWN = """
import offgil

def good():
    print("this does not get in the way")
    with offgil.Executor(2) as executor:
        return list(executor.map(square, range(10)))

def square(number):
    return number * number

def tells_workers():
    import os
    return os.environ["OFFGIL_WORKERS"]

def fails():
    raise LookupError("nothing there")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="half of the settings need Linux")
def test_a_workload_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    good = run("own.py:good", "--rounds", "2", "--json", "report.json", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    rows = json.loads((tmp_path / "report.json").read_text())
    assert [len(row["seconds"]) for row in rows] == [2, 2, 2, 2]
    assert {row["items"] for row in rows} == {10}

    differs = run("own.py:tells_workers", "--quick", cwd=tmp_path)
    assert differs.returncode == 1
    assert "own.py:tells_workers has 2 different answers" in differs.stderr

    fails = run("own.py:fails", "--quick", cwd=tmp_path)
    assert fails.returncode == 1
    assert "LookupError: nothing there" in fails.stderr
    assert "not run" in fails.stdout


@pytest.mark.parametrize("name", ["unknown", "absent.py:f"])
def test_unknown_workloads_are_refused(tmp_path: Path, name: str) -> None:
    done = run(name, cwd=tmp_path)
    assert done.returncode == 2
    assert name.partition(":")[0] in done.stderr


def test_an_interpreter_without_offgil_is_told(tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho ModuleNotFoundError: offgil >&2\nexit 1\n")
    fake.chmod(0o755)
    done = run("executor", "--quick", "--python", str(fake), "--python", str(tmp_path / "none"), cwd=tmp_path)
    assert done.returncode == 1
    assert "ModuleNotFoundError: offgil (exit status" in done.stderr
    assert "cannot be started" in done.stderr


def row(version: str, seconds: float, digest: str = "a", *, free_threaded: bool = False) -> Row:
    kind = "threads" if free_threaded else "processes"
    return Row(
        workload="w",
        python=f"/{version}",
        workers=kind,
        store=None,
        version=version,
        free_threaded=free_threaded,
        chosen={"workers": (kind, "reasons"), "store": ("shared", "reasons")},
        seconds=[seconds],
        items=1000,
        digests={digest},
    )


def test_the_table_compares_with_the_gil_build_of_the_same_version() -> None:
    rows = [row("3.13.2", 2.0), row("3.13.2", 0.5, free_threaded=True), row("3.14.0", 1.0, free_threaded=True)]
    lines = table(rows).splitlines()
    assert [line.split()[-2:] for line in lines[2:5]] == [["2000.0", "1.00"], ["500.0", "4.00"], ["1000.0", "-"]]
    assert disagreements(rows) == []
    rows[1].digests = {"b"}
    assert disagreements(rows) == ["w has 2 different answers: 3.13.2 processes, 3.14.0t threads; 3.13.2t threads"]
