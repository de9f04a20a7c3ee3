"""CPython's own tests of the mapping protocol, on every store."""

from __future__ import annotations

import unittest
from collections.abc import Callable
from typing import Any

import pytest

from store_sides import MakeStore

mapping_tests = pytest.importorskip(
    "test.mapping_tests", reason="this interpreter was installed without the standard library's test package"
)


@pytest.mark.parametrize("name", unittest.TestLoader().getTestCaseNames(mapping_tests.BasicTestMappingProtocol))
def test_of_the_standard_library(make_store: MakeStore, name: str) -> None:
    class Case(mapping_tests.BasicTestMappingProtocol):  # type: ignore[misc, name-defined]
        type2test: Callable[[], Any] = staticmethod(make_store)

        def _reference(self) -> dict[str, object]:
            # Older versions have int keys here.
            return {"1": "2", "key1": "value1", "key2": (1, 2, 3)}

    result = Case(name).run()
    assert result is not None
    problems = [text for _, text in result.failures + result.errors]
    assert not problems, problems[0]
    assert result.testsRun == 1
