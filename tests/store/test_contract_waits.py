"""What every result store promises those who wait without parking in wait, pop or take."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from offgil import Closed, ResultStore, StoreTimeout
from store_sides import in_background, until, until_parked


class TestAsCompleted:
    def test_in_order_of_arrival(self, store: ResultStore) -> None:
        for key in ("z", "a", "m"):
            store[key] = key
        results = store.as_completed(["a", "late", "m", "z"])
        assert [next(results) for _ in range(3)] == [("z", "z"), ("a", "a"), ("m", "m")]
        store["late"] = 1
        assert next(results) == ("late", 1)
        with pytest.raises(StopIteration):
            next(results)
        assert len(store) == 4

    def test_waits_for_many_at_once(self, store: ResultStore) -> None:
        keys = [f"k{i}" for i in range(500)]
        join = in_background(lambda: list(store.as_completed(keys)))
        until_parked(store, 500 if store.decision.kind == "shared" else 1)
        for i, key in enumerate(reversed(keys)):
            store[key] = i
        assert join() == [(key, i) for i, key in enumerate(reversed(keys))]
        assert store.stats().waiters == 0

    def test_a_key_given_twice_comes_once(self, store: ResultStore) -> None:
        store["a"] = 1
        assert list(store.as_completed(["a", "a"], timeout=30)) == [("a", 1)]

    @pytest.mark.parametrize("timeout", [0, 0.02])
    def test_timeout_names_how_many(self, store: ResultStore, timeout: float) -> None:
        store["a"] = 1
        results = store.as_completed(["a", "b", "c"], timeout=timeout)
        assert next(results) == ("a", 1)
        with pytest.raises(StoreTimeout, match=r"\b2\b"):
            next(results)
        assert store.stats().waiters == 0

    def test_the_keys_are_read_at_the_call(self, store: ResultStore) -> None:
        keys = ["a"]
        results = store.as_completed(keys)
        keys.append("b")
        store["a"] = 1
        assert list(results) == [("a", 1)]
        with pytest.raises(TypeError, match="str"):
            store.as_completed([1])  # type: ignore[list-item]
        with pytest.raises(ValueError, match="timeout"):
            store.as_completed([], timeout=-1)

    def test_stopping_early_leaves_nothing(self, store: ResultStore) -> None:
        store["a"] = 1
        results = store.as_completed(["a", "b"])
        assert next(results) == ("a", 1)
        del results
        assert store.stats().waiters == 0

    def test_close_wakes_it(self, store: ResultStore) -> None:
        join = in_background(lambda: list(store.as_completed(["a", "b"])))
        until_parked(store)
        store.close()
        with pytest.raises(Closed):
            join()
        with pytest.raises(Closed):
            list(store.as_completed(["a"]))


class TestFuture:
    def test_is_one(self, store: ResultStore) -> None:
        future = store.future("k")
        assert isinstance(future, concurrent.futures.Future)
        assert not future.done()
        store["k"] = None
        assert future.result(timeout=30) is None
        assert "k" in store
        assert store.future("k").result(timeout=30) is None

    def test_many_with_the_tools_for_futures(self, store: ResultStore) -> None:
        futures = {store.future(f"k{i % 10}"): i % 10 for i in range(30)}
        for i in range(10):
            store[f"k{i}"] = i
        for future in concurrent.futures.as_completed(futures, timeout=30):
            assert future.result() == futures[future]
        assert store.stats().waiters == 0

    def test_gets_the_exception(self, store: ResultStore) -> None:
        future = store.future("k")
        store.put_exception("k", ValueError("x"))
        assert str(future.exception(timeout=30)) == "x"
        with pytest.raises(ValueError, match="x"):
            future.result()

    def test_callbacks_may_use_the_store(self, store: ResultStore) -> None:
        future = store.future("k")
        future.add_done_callback(lambda done: store.put("then", done.result() + 1))
        store["k"] = 1
        assert store.wait("then", timeout=30) == 2

    def test_cancel_ends_the_wait(self, store: ResultStore) -> None:
        future, other = store.future("k"), store.future("k")
        join = in_background(lambda: concurrent.futures.wait([future], timeout=30))
        assert future.cancel()
        assert future.cancel()
        assert future in join().done  # type: ignore[attr-defined]
        until(lambda: store.stats().waiters == 1, "the withdrawal")
        store["k"] = 1
        assert other.result(timeout=30) == 1
        assert not other.cancel()
        assert future.cancelled()

    def test_cancel_races_with_the_result(self, store: ResultStore, in_parallel: Callable[..., list[object]]) -> None:
        for i in range(100):
            future = store.future(f"k{i}")
            cancelled, _ = in_parallel(future.cancel, lambda i=i: store.put(f"k{i}", i))
            if cancelled:
                with pytest.raises(concurrent.futures.CancelledError):
                    future.result(timeout=30)
            else:
                assert future.result(timeout=30) == i
        assert store.stats().waiters == 0

    def test_close_sets_closed(self, store: ResultStore) -> None:
        future = store.future("k")
        store.close()
        assert isinstance(future.exception(timeout=30), Closed)
        with pytest.raises(Closed):
            store.future("k")


class TestWhoGetsIt:
    def test_a_pop_of_the_key_or_a_take_of_the_topic(self, store: ResultStore) -> None:
        taking = in_background(lambda: store.take("t"))
        until_parked(store)
        popping = in_background(lambda: store.pop("k", timeout=None))
        until_parked(store, 2)
        store.put("k", 1, topic="t")
        until(lambda: store.stats().takes == 1, "one of them")
        store.put("k", 2, topic="t")
        taken = taking()
        assert isinstance(taken, tuple)
        assert {popping(), taken[1]} == {1, 2}
        if store.decision.kind == "shared":  # which hands over, where the other one wakes both
            assert popping() == 1

    def test_readers_besides_the_one_that_consumes(self, store: ResultStore) -> None:
        futures = [store.future("k") for _ in range(3)]
        store["k"] = 1
        assert store.wait("k") == 1
        assert [future.result(timeout=30) for future in futures] == [1, 1, 1]


def run(coroutine: Coroutine[Any, Any, object]) -> object:
    return asyncio.run(asyncio.wait_for(coroutine, 60))


class TestAsync:
    def test_waits(self, store: ResultStore) -> None:
        async def main() -> list[object]:
            before = threading.active_count()
            tasks = [asyncio.create_task(store.wait_async(f"k{i}")) for i in range(200)]
            await asyncio.sleep(0)
            # The one more is this store's, if it needs any: none for each task.
            assert threading.active_count() <= before + 1
            join = in_background(lambda: store.update({f"k{i}": i for i in range(200)}))
            results = await asyncio.gather(*tasks)
            join()
            return results

        assert run(main()) == list(range(200))
        assert store.stats().waiters == 0
        assert len(store) == 200

    def test_for_what_is_there(self, store: ResultStore) -> None:
        store["k"] = 1
        assert run(store.wait_async("k", timeout=0)) == 1

    def test_raises_what_was_put(self, store: ResultStore) -> None:
        async def main() -> None:
            task = asyncio.create_task(store.wait_async("k"))
            await asyncio.sleep(0)
            store.put_exception("k", StopIteration("an odd one"))
            # A coroutine cannot raise StopIteration: Python makes it a RuntimeError.
            with pytest.raises(RuntimeError, match="StopIteration"):
                await task
            store.put_exception("k", TimeoutError("the stored one"))
            with pytest.raises(TimeoutError, match="the stored one"):
                await store.wait_async("k", timeout=30)

        run(main())

    @pytest.mark.parametrize("timeout", [0, 0.02])
    def test_timeout(self, store: ResultStore, timeout: float) -> None:
        with pytest.raises(StoreTimeout, match="'k'"):
            run(store.wait_async("k", timeout=timeout))
        assert store.stats().waiters == 0

    @pytest.mark.parametrize("timeout", [-1, float("nan")])
    def test_timeouts_that_make_no_sense(self, store: ResultStore, timeout: float) -> None:
        with pytest.raises(ValueError, match="timeout"):
            run(store.wait_async("k", timeout=timeout))

    def test_cancelling_the_task_ends_it(self, store: ResultStore) -> None:
        async def main() -> None:
            task = asyncio.create_task(store.wait_async("k"))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert store.stats().waiters == 0

        run(main())
        store["k"] = 1

    def test_close_wakes_it(self, store: ResultStore) -> None:
        async def main() -> None:
            task = asyncio.create_task(store.wait_async("k"))
            await asyncio.sleep(0.01)
            store.close()
            with pytest.raises(Closed):
                await task

        run(main())

    def test_a_loop_that_is_gone_hurts_no_publisher(self, store: ResultStore) -> None:
        async def abandon() -> None:
            asyncio.create_task(store.wait_async("k"))  # noqa: RUF006  (that is the point)
            await asyncio.sleep(0)

        run(abandon())
        store["k"] = 1
        assert store["k"] == 1

    def test_the_loop_stays_free(self, store: ResultStore) -> None:
        async def main() -> int:
            task = asyncio.create_task(store.wait_async("k"))
            turns = 0
            deadline = time.monotonic() + 30
            while not task.done():
                if turns == 50:
                    store["k"] = 1
                turns += 1
                assert time.monotonic() < deadline
                await asyncio.sleep(0)
            return turns

        assert run(main()) > 50  # type: ignore[operator]
