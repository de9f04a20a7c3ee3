"""Objects of the extension that ``__new__`` made and no ``__init__``: refused, where nanobind does not look, too."""

import enum

import pytest

from offgil import _core

CLASSES = [cls for cls in vars(_core).values() if isinstance(cls, type) and not issubclass(cls, enum.Enum)]


@pytest.mark.parametrize("cls", CLASSES)
def test_a_view(cls):
    made = cls.__new__(cls)
    with pytest.raises(TypeError):
        memoryview(made)


def test_a_table():
    made = _core.SharedTable.__new__(_core.SharedTable)
    for use in (len, lambda table: table["key"], lambda table: "key" in table):
        with pytest.raises(TypeError, match="__init__"):
            use(made)
