"""What holds for threads and processes alike."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import signal
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest

import executor_tasks as tasks
import offgil
from offgil import BrokenExecutor, Closed, Executor, ExecutorFull, TaskTimeout

from .conftest import MakeExecutor


def start_blocked(executor: Executor, folder: Path, count: int = 1) -> Future[str]:
    """Have a worker begin a task that runs until the file ``go`` is in ``folder``; return the last one's future."""
    for number in range(count):
        future = executor.submit(tasks.wait_for_file, str(folder / "go"), str(folder / f"begun{number}"))
    for number in range(count):
        tasks.wait_for_file(str(folder / f"begun{number}"))
    return future


def test_submit_and_map(executor: Executor) -> None:
    assert executor.submit(tasks.add, 1, b=2).result(60) == 3
    assert list(executor.map(tasks.add, range(100), range(100))) == list(range(0, 200, 2))
    assert list(executor.map(tasks.add, range(100), chunksize=7)) == list(range(1, 101))
    assert list(executor.map(tasks.add, range(100), chunksize=7, buffersize=2)) == list(range(1, 101))


def test_map_submits_only_buffersize_ahead(executor: Executor) -> None:
    taken = []

    def numbers() -> Any:
        for number in range(10):
            taken.append(number)
            yield number

    results = executor.map(tasks.same, numbers(), buffersize=3)
    assert len(taken) == 3
    assert next(results) == 0
    assert len(taken) == 4
    assert list(results) == list(range(1, 10))


@pytest.mark.parametrize(("wrong", "error"), [({"buffersize": 0}, ValueError), ({"chunksize": 0}, ValueError)])
def test_map_refuses_what_cannot_be(executor: Executor, wrong: dict[str, int], error: type[Exception]) -> None:
    with pytest.raises(error):
        executor.map(tasks.add, [1], **wrong)


def test_map_times_out_and_cancels_the_rest(executor: Executor, tmp_path: Path) -> None:
    go = str(tmp_path / "go")
    results = executor.map(tasks.wait_for_file, [go] * 20, timeout=0.05)
    with pytest.raises(TimeoutError):
        next(results)
    (tmp_path / "go").touch()
    executor.shutdown()
    assert executor.stats().cancelled >= 17


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 7, 2**80, 1.5, "text", "\ud800", b"bytes", bytearray(b"x"), [1, {"a": (2,)}], float),
        *(b"B" * 1_000_000, "t" * 1_000_000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_come_back_equal(executor: Executor, value: Any) -> None:
    result = executor.submit(tasks.same, value).result(60)
    assert result == value
    assert type(result) is type(value)


def test_methods_and_instances(executor: Executor) -> None:
    assert executor.submit(tasks.Point(1).moved, by=2).result(60).x == 3
    assert executor.submit(tasks.Point, 5).result(60).x == 5


def test_exceptions_come_with_where_they_were_raised(executor: Executor, kind: str) -> None:
    with pytest.raises(ValueError, match=r"^wrong$") as caught:
        executor.submit(tasks.fail, "wrong").result(60)
    if kind == "processes":
        assert isinstance(caught.value.__cause__, offgil.RemoteTraceback)
        assert "# a comment to find in the traceback" in str(caught.value.__cause__)
        assert "worker.py" not in str(caught.value.__cause__)
    else:
        assert caught.traceback[-1].name == "fail"


def test_exceptions_that_are_no_errors_are_the_task_s(executor: Executor) -> None:
    future = executor.submit(tasks.exit_softly)
    assert isinstance(future.exception(60), SystemExit)
    assert executor.submit(tasks.same, 1).result(60) == 1


def test_workers_run_at_once(executor: Executor, tmp_path: Path) -> None:
    start_blocked(executor, tmp_path, count=2)
    assert {report.state for report in executor.snapshot()} == {"running"}
    (tmp_path / "go").touch()


def test_higher_priorities_run_first(make: MakeExecutor, tmp_path: Path) -> None:
    executor = make(1)
    start_blocked(executor, tmp_path)
    log = str(tmp_path / "log")
    futures = [
        executor.options(priority=priority).submit(tasks.append, log, f"{priority}{letter} ")
        for letter in "ab"
        for priority in (0, 5, 63, 1)
    ]
    (tmp_path / "go").touch()
    concurrent.futures.wait(futures, 60)
    assert Path(log).read_text() == "63a 63b 5a 5b 1a 1b 0a 0b "


def test_cancel_reaches_what_has_not_begun(make: MakeExecutor, tmp_path: Path) -> None:
    executor = make(1)
    running = start_blocked(executor, tmp_path)
    waiting = executor.submit(tasks.add, 1)
    assert running.running()
    assert not waiting.running()
    assert waiting.cancel()
    assert waiting.cancel()
    assert not running.cancel()
    assert waiting.cancelled()
    with pytest.raises(CancelledError):
        waiting.result()
    assert concurrent.futures.wait([waiting], 60).not_done == set()
    (tmp_path / "go").touch()
    assert running.result(60)
    assert not running.cancel()
    assert not running.running()
    assert (executor.stats().cancelled, executor.stats().succeeded) == (1, 1)


def test_as_completed_and_callbacks(executor: Executor) -> None:
    futures = [executor.submit(tasks.add, number) for number in range(50)]
    assert sorted(future.result() for future in concurrent.futures.as_completed(futures, 60)) == list(range(1, 51))
    called: list[Future[int]] = []
    executor.submit(tasks.add, 1).add_done_callback(called.append)
    executor.shutdown()
    assert called[0].result() == 2


def test_a_callback_may_submit(executor: Executor) -> None:
    second: Future[int] = Future()

    def go_on(first: Future[int]) -> None:
        executor.submit(tasks.add, first.result()).add_done_callback(lambda done: second.set_result(done.result()))

    executor.submit(tasks.add, 1).add_done_callback(go_on)
    assert second.result(60) == 3


def test_shutdown_runs_what_was_submitted_and_refuses_more(executor: Executor) -> None:
    futures = [executor.submit(tasks.sleep, 0.001) for _ in range(50)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    with pytest.raises(Closed, match="make a new one"):
        executor.submit(tasks.add, 1)
    with pytest.raises(RuntimeError):  # what concurrent.futures documents
        executor.map(tasks.add, [1])
    executor.shutdown()
    assert executor.stats().workers == 0


def test_shutdown_can_cancel_and_need_not_wait(make: MakeExecutor, tmp_path: Path) -> None:
    executor = make(1)
    running = start_blocked(executor, tmp_path)
    waiting = [executor.submit(tasks.add, 1) for _ in range(5)]
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    assert not running.done()
    (tmp_path / "go").touch()
    assert running.result(60)


def test_an_executor_that_is_dropped_finishes_its_tasks(make: MakeExecutor, kind: str) -> None:
    executor = Executor(1, workers=kind)  # type: ignore[arg-type]
    futures = [executor.submit(tasks.sleep, 0.01) for _ in range(3)]
    del executor
    assert [future.result(60) for future in futures] == [0.01] * 3


def test_initializer(make: MakeExecutor) -> None:
    tasks.state.clear()
    executor = make(1, initializer=tasks.initialize, initargs=("ready",))
    assert executor.submit(tasks.read_state).result(60) == ["ready"]
    tasks.state.clear()


def test_an_initializer_that_raises_breaks_the_executor(make: MakeExecutor) -> None:
    executor = make(2, initializer=tasks.fail_to_initialize)
    future = executor.submit(tasks.add, 1)
    with pytest.raises(concurrent.futures.BrokenExecutor, match="no model file"):
        future.result(60)
    with pytest.raises(BrokenExecutor, match="no model file"):
        executor.submit(tasks.add, 1)


def test_max_tasks_per_worker(make: MakeExecutor) -> None:
    executor = make(1, max_tasks_per_worker=3)
    seen = [executor.submit(tasks.where).result(60) for _ in range(7)]
    assert seen[0] == seen[2]
    assert seen[2] != seen[3]
    assert executor.stats().died == 0


def test_a_task_over_its_time(make: MakeExecutor, kind: str) -> None:
    executor = make(1)
    late = executor.options(timeout=0.1).submit(tasks.sleep, 3600 if kind == "processes" else 3)
    quick = executor.options(timeout=60).submit(tasks.add, 1)
    with pytest.raises(TaskTimeout, match=r"sleep ran longer than its timeout of 0.1 s"):
        late.result(60)
    assert quick.result(60) == 2
    assert executor.submit(tasks.add, 2).result(60) == 3
    stats = executor.stats()
    assert (stats.timed_out, stats.failed, stats.stuck) == (1, 1, 0 if kind == "processes" else 1)


def test_max_pending_blocks_submit(make: MakeExecutor, tmp_path: Path) -> None:
    executor = make(1, max_pending=2)
    start_blocked(executor, tmp_path)
    waiting = executor.submit(tasks.add, 1)
    with pytest.raises(ExecutorFull, match="max_pending"):
        executor.options(submit_timeout=0.05).submit(tasks.add, 2)
    assert waiting.cancel()
    again = executor.options(submit_timeout=0).submit(tasks.add, 3)
    (tmp_path / "go").touch()
    assert again.result(60) == 4
    assert list(executor.map(tasks.add, range(20))) == list(range(1, 21))


def test_snapshot_and_stats(make: MakeExecutor, tmp_path: Path, kind: str) -> None:
    executor = make(1)
    start_blocked(executor, tmp_path)
    executor.options(priority=7).submit(tasks.add, 1)
    running, pending = executor.snapshot()
    assert (running.name, running.state, running.priority) == ("wait_for_file", "running", 0)
    assert isinstance(running.worker, int if kind == "processes" else str)
    assert running.running_for is not None
    assert 0 < running.running_for <= running.age < 60
    assert (pending.name, pending.state, pending.worker, pending.running_for) == ("add", "pending", None, None)
    assert pending.priority == 7
    stats = executor.stats()
    assert (stats.workers, stats.submitted, stats.pending, stats.running) == (1, 2, 1, 1)
    (tmp_path / "go").touch()
    executor.shutdown()
    assert executor.snapshot() == []
    assert executor.stats().succeeded == 2


def test_asyncio(make: MakeExecutor, tmp_path: Path) -> None:
    executor = make(2, max_pending=2)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(executor, tasks.add, 1) == 2
        assert await asyncio.gather(*(executor.submit_async(tasks.add, n) for n in range(50))) == list(range(1, 51))
        with pytest.raises(ValueError, match="wrong"):
            await executor.submit_async(tasks.fail, "wrong")
        blocked = [
            asyncio.ensure_future(executor.submit_async(tasks.wait_for_file, str(tmp_path / "go"))) for _ in "ab"
        ]
        await asyncio.sleep(0)
        with pytest.raises(ExecutorFull):
            await executor.options(submit_timeout=0.05).submit_async(tasks.add, 1)
        third = asyncio.ensure_future(executor.submit_async(tasks.add, 1))
        await asyncio.sleep(0.01)
        third.cancel()
        (tmp_path / "go").touch()
        await asyncio.gather(*blocked)
        assert await executor.submit_async(tasks.add, 2) == 3

    asyncio.run(main())


def test_contexts_do_not_leak_from_task_to_task(make: MakeExecutor) -> None:
    executor = make(1)
    assert executor.submit(tasks.set_variable, "first").result(60) == "unset"
    assert executor.submit(tasks.set_variable, "second").result(60) == "unset"


@pytest.mark.parametrize(
    "wrong",
    [{"max_workers": 0}, {"max_pending": 0}, {"max_tasks_per_worker": 0}],
)
def test_bounds_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be greater than 0"):
        Executor(**wrong)


@pytest.mark.parametrize("wrong", [{"max_workers": "2"}, {"max_pending": 1.5}, {"context": "spawn"}])
def test_types_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(wrong))} must be"):
        Executor(**wrong)


@pytest.mark.parametrize("wrong", [{"priority": "high"}, {"retries": 1.5}])
def test_types_of_options_are_checked(executor: Executor, wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(wrong))} must be an int"):
        executor.options(**wrong)


@pytest.mark.parametrize("wrong", [{"priority": 64}, {"timeout": 0}, {"retries": -1}, {"submit_timeout": -1}])
def test_options_are_checked(executor: Executor, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        executor.options(**wrong)


def test_the_decision_is_the_runtime_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFGIL_WORKERS", "threads")
    with Executor(1) as executor:
        assert str(executor.decision) == "threads: OFFGIL_WORKERS asked for it"
    monkeypatch.delenv("OFFGIL_WORKERS")
    with Executor(1) as executor:
        assert executor.decision == offgil.runtime.decide_workers()


class Interrupted(BaseException):
    pass


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_within_submit_leaves_nothing_behind(make: MakeExecutor) -> None:
    def interrupt(*_: Any) -> None:
        raise Interrupted

    executor: Any = make(2, max_pending=3)
    others = executor.options(priority=1, timeout=60, retries=1)
    previous = signal.signal(signal.SIGALRM, interrupt)
    delays = random.Random(5)
    try:
        for _ in range(500):
            try:
                signal.setitimer(signal.ITIMER_REAL, delays.uniform(1e-5, 2e-4))
                for _ in range(100):  # not for ever: what is raised within a destructor is lost
                    executor.submit(tasks.add, 1)
                    others.submit(tasks.add, 1)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Interrupted:
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert list(executor.map(tasks.add, range(10))) == list(range(1, 11))
    executor.shutdown()
    stats = executor.stats()
    assert stats.pending == stats.running == 0
    assert stats.workers <= 2
    backend = executor._backend
    assert not executor._room._holders
    assert not getattr(backend, "_watcher", backend)._limited
    assert not getattr(backend, "_frames", {})


def test_who_gives_up_waiting_for_a_place_takes_none(make: MakeExecutor) -> None:
    executor = make(1, max_pending=1)

    async def main() -> None:
        for _ in range(200):  # places come and waits end at the same time
            waits = [asyncio.ensure_future(executor.submit_async(tasks.add, 1)) for _ in range(5)]
            waits += [asyncio.ensure_future(hasty.submit_async(tasks.add, 1)) for _ in range(5)]
            await waits[0]
            waits[1].cancel()
            await waits[2]
            for each in waits[3:]:
                each.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    hasty = executor.options(submit_timeout=0.0005)
    asyncio.run(main())
    assert executor.options(submit_timeout=60).submit(tasks.add, 1).result(60) == 2
