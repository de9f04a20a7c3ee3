"""What the managed-dict store gives back for each kind of value."""

from __future__ import annotations

import datetime
import enum
import math
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offgil.errors import CodecError, RemoteError, StoreCorrupted, StoreFull
from offgil.store.codec import ARRAY, EXCEPTION, INT, JSON, Codec

if sys.platform != "linux":
    pytest.skip("the managed-dict store needs Linux", allow_module_level=True)

from offgil.store.managed import ManagedDictStore


class Colour(enum.IntEnum):
    RED = 1


class Refuses:
    def __reduce__(self) -> Any:
        raise RuntimeError("not today")


class TwoArguments(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


@pytest.fixture(scope="module")
def store() -> Iterator[ManagedDictStore]:
    with ManagedDictStore(max_bytes=16 << 20) as opened:
        yield opened


@pytest.fixture(scope="module")
def careful() -> Iterator[ManagedDictStore]:
    with ManagedDictStore(max_bytes=16 << 20, pickle=False) as opened:
        yield opened


def there_and_back(store: ManagedDictStore, value: Any) -> Any:
    store["k"] = value
    return store["k"]


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary() | st.text(st.characters())


@settings(deadline=None)
@given(leaves | st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_equal_and_of_the_same_type(store: ManagedDictStore, value: Any) -> None:
    back = there_and_back(store, value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("bits", [0, 7, 8, 62, 63, 64, 65, 1000])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("step", [-1, 0, 1])
def test_integers_around_each_border(store: ManagedDictStore, bits: int, sign: int, step: int) -> None:
    number = sign * (1 << bits) + step
    assert there_and_back(store, number) == number


def test_floats(store: ManagedDictStore) -> None:
    for number in (0.0, -0.0, math.inf, -math.inf, 5e-324):
        assert math.copysign(1, there_and_back(store, number)) == math.copysign(1, number)
        assert there_and_back(store, number) == number
    assert math.isnan(there_and_back(store, math.nan))


@pytest.mark.parametrize(
    "value",
    [Colour.RED, Decimal("1.5"), datetime.date(2026, 1, 2), (1, [2]), {1, 2}, "\ud800"],
)
def test_by_pickle(store: ManagedDictStore, value: object) -> None:
    back = there_and_back(store, value)
    assert back == value
    assert type(back) is type(value)


def test_exceptions_are_values(store: ManagedDictStore) -> None:
    back = there_and_back(store, ValueError("no", 7))
    assert type(back) is ValueError
    assert back.args == ("no", 7)


@pytest.mark.parametrize("size", [0, 10, 100_000])
def test_buffers_come_back_as_bytes(store: ManagedDictStore, size: int) -> None:
    data = bytes(range(10)) * (size // 10)
    for value, expected in (
        (bytearray(data), data),
        (memoryview(data), data),
        (memoryview(data)[::2], data[::2]),
    ):
        back = there_and_back(store, value)
        assert type(back) is bytes
        assert back == expected


ARRAYS = {
    "c": np.arange(24, dtype="f8").reshape(2, 3, 4),
    "fortran": np.asfortranarray(np.arange(24, dtype="i4").reshape(2, 3, 4)),
    "strided": np.arange(24)[::3],
    "transposed": np.arange(24, dtype="u2").reshape(2, 3, 4).transpose(1, 2, 0),
    "zero dimensions": np.array(7.5),
    "empty": np.empty((3, 0, 2)),
    "big endian": np.arange(5, dtype=">i8"),
    "dates": np.array(["2026-01-02", "NaT"], dtype="M8[ms]"),
    "text": np.array(["a", "bcd"]),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "structured": np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    "objects": np.array([None, {"a": 1}], dtype=object),
    "large": np.arange(1_000_000, dtype="f4"),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_arrays(store: ManagedDictStore, array: np.ndarray[Any, Any]) -> None:
    back = there_and_back(store, array)
    assert type(back) is np.ndarray
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    assert back.shape == array.shape
    if array.flags.fnc:
        assert back.flags.f_contiguous
    # Small and large, by itself and by pickle: never written to.
    if not array.dtype.hasobject:
        assert not back.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            back[...] = back


def test_arrays_lie_in_the_store() -> None:
    store = ManagedDictStore(max_bytes=32 << 20)
    large = np.arange(1_000_000, dtype="f4")
    store["k"] = {"a": large, "b": [large[::-1]], "c": large.astype("i8")}
    assert store.stats().bytes_used > large.nbytes * 4
    back = store["k"]
    np.testing.assert_array_equal(back["a"], large)
    np.testing.assert_array_equal(back["b"][0], large[::-1])
    assert [entry.pins for entry in store.snapshot()] == [1]
    # What looks at them keeps them, and nothing else does.
    del store["k"]
    kept = back["c"][500_000:]
    del back
    with pytest.raises(StoreFull):
        store["more"] = bytes(20 << 20)
    assert kept[0] == 500_000
    del kept
    store["more"] = bytes(20 << 20)


def test_numpy_is_not_imported_for_other_values() -> None:
    program = """
import sys
from offgil.store.managed import ManagedDictStore
with ManagedDictStore() as store:
    for value in (1, 1 << 70, "a", [1], bytearray(b"x")):
        store["k"] = value
        store["k"]
assert "numpy" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("value", [lambda: None, Refuses()], ids=["function", "refuses"])
def test_what_cannot_be_pickled_says_whose_and_why(value: object) -> None:
    with pytest.raises(CodecError, match=rf"'the key'.*{type(value).__qualname__}") as caught:
        Codec(pickle=True).encode("the key", value)
    assert caught.value.__cause__ is not None


def test_what_cannot_be_read() -> None:
    codec, [body] = Codec(pickle=True).encode("k", [1])
    with pytest.raises(CodecError, match=r"'k'.*unpickled"):
        Codec(pickle=True).decode("k", codec, body[:-3])
    with pytest.raises(CodecError, match=r"'k'.*pickle=True"):
        Codec(pickle=False).decode("k", codec, body)
    with pytest.raises(StoreCorrupted, match="unknown codec 200"):
        Codec(pickle=True).decode("k", 200, b"")


@pytest.mark.parametrize("codec", [ARRAY, JSON, EXCEPTION])
@pytest.mark.parametrize("data", [b"", b"\xff" * 70, b"\x03\0\0\0|O C", b"\x02\0\0\0{}", b"null"])
def test_damaged_bytes(codec: int, data: bytes) -> None:
    if (codec, data) == (JSON, b"null"):
        assert Codec(pickle=False).decode("k", codec, data) is None
        return
    with pytest.raises(StoreCorrupted, match="'k'"):
        Codec(pickle=False).decode("k", codec, data)


# --- without pickle ---

json_leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters())
json_values = st.recursive(json_leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@settings(deadline=None)
@given(st.lists(json_values) | st.dictionaries(st.text(), json_values))
def test_plain_structures_without_pickle(careful: ManagedDictStore, value: Any) -> None:
    back = there_and_back(careful, value)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("value", [(1,), {1: 2}, [(1,)], {"a": b"b"}, {1, 2}, Decimal(1), [1 << 20000], "\ud800"])
def test_without_pickle_nothing_changes_on_the_way(careful: ManagedDictStore, value: object) -> None:
    with pytest.raises(CodecError, match=r"'k'.*pickle=True"):
        careful["k"] = value


def test_a_pickle_is_not_read_where_pickle_is_off(careful: ManagedDictStore) -> None:
    careful._table.put_exception("k", (18, [b"cos\nsystem\n(S'false'\ntR."]), None, 0, None, None)
    with pytest.raises(CodecError, match="pickle=True"):
        careful["k"]


def test_arrays_and_large_numbers_need_no_pickle(careful: ManagedDictStore) -> None:
    np.testing.assert_array_equal(there_and_back(careful, ARRAYS["c"]), ARRAYS["c"])
    assert there_and_back(careful, 1 << 30000) == 1 << 30000
    assert INT == 16  # the number on record


# --- exceptions ---


def raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:
        return caught


@pytest.mark.parametrize("kind", ["store", "careful"])
def test_exceptions_of_everyone_come_back(kind: str, request: pytest.FixtureRequest) -> None:
    there: ManagedDictStore = request.getfixturevalue(kind)
    there.put_exception("k", raised(ValueError("no", 7)))
    for _ in range(2):
        with pytest.raises(ValueError, match="no") as caught:
            there["k"]
        assert caught.value.args == ("no", 7)
        [note] = caught.value.__notes__
        assert "in raised" in note  # where it was raised first
    there.put_exception("k", StoreFull("no room"))
    with pytest.raises(StoreFull, match="no room"):
        there.wait("k")


def test_exceptions_that_cannot_be_made_anew(store: ManagedDictStore, careful: ManagedDictStore) -> None:
    # Its pickle calls TwoArguments("1 and 2").
    store.put_exception("k", TwoArguments(1, 2))
    with pytest.raises(RemoteError, match=r"TwoArguments: 1 and 2"):
        store["k"]
    careful.put_exception("k", TwoArguments(1, 2))
    with pytest.raises(RemoteError, match=r"TwoArguments: 1 and 2"):
        careful["k"]
    careful.put_exception("k", ValueError(b"bytes", Decimal(1)))
    with pytest.raises(RemoteError, match=r"builtins\.ValueError"):
        careful["k"]
    careful.put_exception("k", SystemExit(3))
    with pytest.raises(RemoteError, match="SystemExit: 3"):
        careful["k"]
    with pytest.raises(TypeError, match="exception object"):
        store.put_exception("k", ValueError)  # type: ignore[arg-type]
