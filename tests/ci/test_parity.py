"""The comparison of what programs print on several interpreters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from offgil_ci import suites
from offgil_ci.results import Counts

OUTPUTS = {
    "same": {"a shared": "1\n", "a managed": "1\n", "b shared": "x\ny\n"},
    "other": {"a shared": "1\n", "a managed": "1\n", "b shared": "x\nz\n"},
    "broken": {"a shared": "exit status 1\n", "a managed": "exit status 1\n", "b shared": "x\ny\n"},
}


@pytest.fixture(autouse=True)
def _printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(command: list[object], **_: object) -> None:
        python, _, report = command
        Path(str(report)).write_text(json.dumps(OUTPUTS[Path(str(python)).parent.parent.name.partition(" ")[0]]))

    monkeypatch.setattr(suites, "LOGS", tmp_path)
    monkeypatch.setattr(suites, "run", run)


def test_equal_outputs_pass() -> None:
    assert suites.parity(["same 1", "same 2", "same 3"]) == Counts(passed=9)


def test_a_difference_is_shown() -> None:
    with pytest.raises(suites.TestsFailed, match=r"(?s)b shared on other:.*-y.*\+z") as caught:
        suites.parity(["same", "other"])
    assert caught.value.counts == Counts(passed=5, failed=1)


def test_equal_failures_fail() -> None:
    with pytest.raises(suites.TestsFailed) as caught:
        suites.parity(["broken 1", "broken 2"])
    assert caught.value.counts == Counts(passed=2, failed=4)
