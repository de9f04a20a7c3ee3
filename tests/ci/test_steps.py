from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from offgil_ci.process import StepFailed, clean_environment, run
from offgil_ci.results import Counts, Result, from_doctest, from_junit, table


def test_a_failing_step_shows_the_end_of_its_log(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    with pytest.raises(StepFailed, match=r"exited with 3[\s\S]*the reason"):
        run([sys.executable, "-c", "print('the reason'); raise SystemExit(3)"], log=log, timeout=60)


def test_a_hanging_step_is_killed_with_its_children(tmp_path: Path) -> None:
    log = tmp_path / "step.log"
    with pytest.raises(StepFailed, match="not finished after 1 s"):
        run(["sh", "-c", "sleep 600 & echo $!; wait"], log=log, timeout=1)
    child = int(log.read_text().splitlines()[1])
    assert gone(child)


def gone(pid: int) -> bool:
    # Killed and orphaned, it is a zombie until init reaps it.
    for _ in range(600):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_what_steers_python_does_not_reach_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_GIL", "0")
    monkeypatch.setenv("VIRTUAL_ENV", "/elsewhere")
    monkeypatch.setenv("PIP_CERT", "/certificates")
    environment = clean_environment()
    assert "PYTHON_GIL" not in environment
    assert "VIRTUAL_ENV" not in environment
    assert environment["PIP_CERT"] == "/certificates"


def test_counts_of_a_pytest_report(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text('<testsuites><testsuite tests="9" failures="1" errors="2" skipped="3"/></testsuites>')
    assert from_junit(report) == Counts(passed=3, failed=3, skipped=3)
    assert from_junit(tmp_path / "none.xml") is None


def test_counts_of_several_doctest_binaries(tmp_path: Path) -> None:
    log = tmp_path / "ctest.log"
    line = "{}: [doctest] test cases:  {} |  {} passed | {} failed | {} skipped\n"
    log.write_text(line.format(1, 5, 4, 1, 0) + "2: noise\n" + line.format(2, 12, 12, 0, 2))
    assert from_doctest(log) == Counts(passed=16, failed=1, skipped=2)


def test_the_table_says_what_did_not_run_and_why() -> None:
    ran = Result("3.13", "tests", "ok", Counts(7, 0, 1), seconds=12.4)
    missing = Result("3.14t", "all", "not run", reason="not on PATH")
    text = table([ran, missing])
    assert "3.13         tests  ok: 7 passed, 0 failed, 1 skipped  12 s" in text
    assert text.endswith("3.14t all: not run: not on PATH")
