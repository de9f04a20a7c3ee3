"""What every result store promises of values: exceptions, memory to write into and to look at, and snapshots."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable

import pytest

from offgil import Closed, CodecError, ResultStore
from offgil.errors import RemoteError
from store_sides import in_background, until_parked


class OddInit(Exception):
    """What ``copy`` and ``pickle`` stumble over."""

    def __init__(self, code: int, *, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        return (_odd, (self.code, str(self).partition(": ")[2]))


class Unprintable(Exception):
    """Neither to be printed nor to be pickled."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__
    __reduce__ = __str__


def _odd(code: int, detail: str) -> OddInit:
    return OddInit(code, detail=detail)


class TestExceptions:
    @pytest.mark.parametrize(
        "read",
        [
            lambda store: store["k"],
            lambda store: store.get("k"),
            lambda store: store.get("k", 1),
            lambda store: store.wait("k"),
            lambda store: store.view("k"),
            lambda store: store.setdefault("k", 1),
            lambda store: store.future("k").result(timeout=30),
            lambda store: store.pop("k"),
            lambda store: store.pop("k", 1),
        ],
    )
    def test_reading_the_key_raises(self, store: ResultStore, read: Callable[[ResultStore], object]) -> None:
        store.put_exception("k", ZeroDivisionError("by zero"))
        with pytest.raises(ZeroDivisionError, match="by zero"):
            read(store)

    def test_a_stored_key_error_is_not_an_absent_key(self, store: ResultStore) -> None:
        store.put_exception("k", KeyError("inner"))
        assert "k" in store
        with pytest.raises(KeyError, match="inner"):
            store.get("k", "default")
        with pytest.raises(KeyError, match="inner"):
            store.pop("k", "default")
        assert "k" not in store

    def test_who_hands_out_keys_gives_the_object(self, store: ResultStore) -> None:
        for key in "abc":
            store.put_exception(key, ValueError(key))
        for pairs in (store.items(), store.as_completed(["a", "b", "c"], timeout=30)):
            seen = dict(pairs)
            assert [type(seen[key]) for key in "abc"] == [ValueError] * 3
            assert [str(seen[key]) for key in "abc"] == ["a", "b", "c"]
        assert sorted(map(str, store.values())) == ["a", "b", "c"]
        key, exc = store.take()
        assert (key, type(exc), exc.args) == ("a", ValueError, ("a",))
        key, exc = store.popitem()
        assert exc.args == (key,)

    def test_parked_waiters_get_it(self, store: ResultStore) -> None:
        waiting = [in_background(lambda: store.wait("k")), in_background(lambda: store.pop("l", timeout=None))]
        until_parked(store, 2)
        store.put_exception("k", LookupError("late"))
        store.put_exception("l", LookupError("late"))
        for join in waiting:
            with pytest.raises(LookupError, match="late"):
                join()

    def test_each_raise_has_a_traceback_of_its_own(self, store: ResultStore) -> None:
        try:
            raise ValueError("origin")
        except ValueError as exc:
            store.put_exception("k", exc)
        lengths = []
        for _ in range(5):
            with pytest.raises(ValueError, match="origin") as caught:
                store["k"]
            lengths.append(len(traceback.extract_tb(caught.value.__traceback__)))
        assert len(set(lengths)) == 1

    def test_that_has_no_text(self, store: ResultStore) -> None:
        store.put_exception("k", Unprintable())
        with pytest.raises((Unprintable, RemoteError)):
            store["k"]

    def test_state_survives(self, store: ResultStore) -> None:
        store.put_exception("odd", OddInit(7, detail="why"))
        with pytest.raises(OddInit, match="7: why") as odd:
            store["odd"]
        assert odd.value.code == 7
        store.put_exception("os", FileNotFoundError(2, "No such file", "name"))
        with pytest.raises(FileNotFoundError) as missing:
            store["os"]
        assert (missing.value.errno, missing.value.filename) == (2, "name")
        store.put_exception("group", ExceptionGroup("several", [ValueError(1), OSError(2)]))
        with pytest.raises(ExceptionGroup, match="several") as group:
            store["group"]
        assert [type(exc) for exc in group.value.exceptions] == [ValueError, OSError]

    def test_they_are_results_like_any_other(self, store: ResultStore) -> None:
        store.put_exception("k", ValueError(), topic="t", priority=9)
        store.put("l", 1, topic="t", priority=1)
        assert store.take("t")[0] == "k"
        store.put_exception("l", ValueError())
        assert store.put("l", 1, if_absent=True) is False
        store["l"] = 2
        assert store["l"] == 2

    @pytest.mark.parametrize("exc", [ValueError, "failed", None])
    def test_only_exception_objects(self, store: ResultStore, exc: object) -> None:
        with pytest.raises(TypeError, match="exception"):
            store.put_exception("k", exc)  # type: ignore[arg-type]
        assert "k" not in store


class TestReserve:
    @pytest.mark.parametrize("size", [0, 1, 7, 100_000])
    def test_publishes_what_was_written(self, store: ResultStore, size: int) -> None:
        content = os.urandom(size)
        with store.reserve("k", size, topic="t", priority=3) as view:
            assert (view.nbytes, view.readonly, view.format) == (size, False, "B")
            assert "k" not in store
            view[:] = content
        assert store["k"] == content
        assert store.take("t") == ("k", content)
        with pytest.raises(ValueError, match="released"):
            view[0:0]

    def test_wakes_waiters_at_its_end(self, store: ResultStore) -> None:
        join = in_background(lambda: store.wait("k"))
        until_parked(store)
        with store.reserve("k", 3) as view:
            view[:] = b"abc"
        assert join() == b"abc"

    def test_an_exception_drops_it(self, store: ResultStore) -> None:
        store["k"] = "old"
        with pytest.raises(ZeroDivisionError), store.reserve("k", 3):
            raise ZeroDivisionError
        assert store["k"] == "old"
        assert len(store) == 1

    def test_a_view_that_lives_on_is_an_error(self, store: ResultStore) -> None:
        store["k"] = "old"
        with pytest.raises(BufferError, match="'k'"), store.reserve("k", 8) as view:
            part = view[2:4]
        part[:] = b"xy"
        assert bytes(part) == b"xy"
        assert store["k"] == "old"
        part.release()
        with store.reserve("k", 2) as view:
            view[:] = b"ab"
        assert store["k"] == b"ab"

    def test_what_was_published_cannot_be_written(self, store: ResultStore) -> None:
        with store.reserve("k", 3) as view:
            view[:] = b"abc"
            memory = view.obj
        with pytest.raises(BufferError, match="published"):
            memoryview(memory)
        assert store["k"] == b"abc"

    def test_numpy_writes_in_place(self, store: ResultStore) -> None:
        numpy = pytest.importorskip("numpy", reason="numpy is not installed")
        with store.reserve("k", 80) as view:
            array = numpy.frombuffer(view, dtype="f8")
            array[:] = numpy.arange(10)
            del array
        assert numpy.frombuffer(store.view("k"), dtype="f8").tolist() == list(range(10))

    @pytest.mark.parametrize("size", [-1, -(1 << 40)])
    def test_sizes_that_make_no_sense(self, store: ResultStore, size: int) -> None:
        with pytest.raises(ValueError, match="nbytes"), store.reserve("k", size):
            pass

    def test_closed(self, store: ResultStore) -> None:
        store.close()
        with pytest.raises(Closed), store.reserve("k", 1):
            pass


class TestView:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (b"", b""),
            (b"abc", b"abc"),
            ("ключ", "ключ".encode()),
            (bytearray(b"abc"), b"abc"),
            (memoryview(b"abcdef")[1:3], b"bc"),
            (memoryview(b"abcdef")[::2], b"ace"),
        ],
    )
    def test_shows_the_bytes(self, store: ResultStore, value: object, expected: bytes) -> None:
        store["k"] = value
        view = store.view("k")
        assert (view.readonly, view.format, view.ndim, view.contiguous) == (True, "B", 1, True)
        assert view == expected

    @pytest.mark.parametrize("dtype", ["u1", "i4", "f8", "c16", ">i2", "S3"])
    def test_arrays(self, store: ResultStore, dtype: object) -> None:
        numpy = pytest.importorskip("numpy", reason="numpy is not installed")
        array = numpy.zeros((3, 4), dtype=dtype)
        array.view("u1")[:] = numpy.arange(array.nbytes).reshape(3, -1) % 251
        store["c"] = array
        store["f"] = numpy.asfortranarray(array)
        assert store.view("c") == array.tobytes()
        assert store.view("f") == array.tobytes()

    def test_outlives_the_entry(self, store: ResultStore) -> None:
        store["k"] = b"x" * 50_000
        view = store.view("k")
        del store["k"]
        for i in range(50):
            store[f"k{i}"] = bytes([i]) * 50_000
        assert view == b"x" * 50_000
        store.close()
        assert view == b"x" * 50_000

    @pytest.mark.parametrize("value", [1, None, ["a"], {"a": 1}])
    def test_values_without_bytes(self, store: ResultStore, value: object) -> None:
        store["k"] = value
        with pytest.raises(CodecError, match="'k'"):
            store.view("k")

    def test_absent(self, store: ResultStore) -> None:
        with pytest.raises(KeyError):
            store.view("k")


class TestSnapshot:
    def test_tells_what_is_there(self, store: ResultStore, kind: str) -> None:
        store.put("a", b"abc", topic="t", priority=5, ttl=1000)
        store["ключ"] = 1
        store.put_exception("failed", ValueError())
        store["gone"] = 1
        del store["gone"]
        entries = {entry.key: entry for entry in store.snapshot()}
        assert sorted(entries) == ["a", "failed", "ключ"]
        a, plain = entries["a"], entries["ключ"]
        assert (a.state, a.topic, a.priority) == ("published", "t", 5)
        assert a.ttl is not None
        assert 0 < a.ttl <= 1000
        assert a.age >= 0
        assert (plain.topic, plain.priority, plain.ttl) == (None, 0, None)
        assert entries["failed"].codec == "exception"
        assert a.producer == (threading.get_ident() if kind == "shared" else os.getpid())
        assert (a.pins, len(entries)) == (0, len(store))
        with pytest.raises(AttributeError):
            a.key = "b"  # type: ignore[misc]

    def test_of_nothing(self, store: ResultStore) -> None:
        assert store.snapshot() == []

    def test_closed(self, store: ResultStore) -> None:
        store.close()
        with pytest.raises(Closed):
            store.snapshot()
