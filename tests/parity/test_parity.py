"""The same program prints the same with every store; ci/test compares the interpreters."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity.outputs import PROGRAMS, STORES, output_of


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.stem)
def test_stores_agree(program: Path) -> None:
    outputs = [output_of(program, store) for store in STORES]
    assert outputs[0]
    assert "exit status" not in outputs[0]
    assert outputs[1:] == outputs[:-1]
