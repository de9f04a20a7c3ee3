"""What only worker processes can do, and what can happen to them."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from concurrent.futures import wait
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import executor_tasks as tasks
from offgil import BrokenExecutor, CodecError, Executor, RemoteError, StoreFull, TaskTimeout, WorkerDied

from .conftest import MakeExecutor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="worker processes need Linux")


@pytest.fixture
def kind() -> str:
    return "processes"


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_start_methods(make: MakeExecutor, method: str) -> None:
    executor = make(2, method=method, initializer=tasks.initialize, initargs=(method,))
    assert executor.submit(tasks.add, 1).result(60) == 2
    assert executor.submit(tasks.read_state).result(60) == [method]
    with pytest.raises(WorkerDied):
        executor.submit(tasks.exit_hard, 1).result(60)
    assert list(executor.map(tasks.add, range(20))) == list(range(1, 21))


def test_a_worker_that_dies_fails_its_task_alone(executor: Executor, tmp_path: Path) -> None:
    go = str(tmp_path / "go")
    other = executor.submit(tasks.wait_for_file, go, str(tmp_path / "begun"))
    tasks.wait_for_file(str(tmp_path / "begun"))
    killed, exited = executor.submit(tasks.kill_self), executor.submit(tasks.exit_hard, 5)
    after = [executor.submit(tasks.add, number) for number in range(20)]
    with pytest.raises(WorkerDied, match="was killed by SIGKILL while it ran kill_self") as caught:
        killed.result(60)
    assert (caught.value.signal, caught.value.exitcode) == (signal.SIGKILL, None)
    with pytest.raises(WorkerDied, match="exited with code 5 while it ran exit_hard") as caught:
        exited.result(60)
    assert (caught.value.signal, caught.value.exitcode) == (None, 5)
    assert caught.value.pid not in (None, os.getpid())
    assert [future.result(60) for future in after] == list(range(1, 21))
    Path(go).touch()
    assert other.result(60) == go
    assert executor.stats().died == 2


def test_an_idle_worker_that_dies_is_replaced(make: MakeExecutor) -> None:
    executor = make(1)
    first = executor.submit(os.getpid).result(60)
    os.kill(first, signal.SIGKILL)
    assert executor.submit(os.getpid).result(60) != first
    assert executor.stats().failed == 0


def test_random_kills_lose_and_repeat_nothing(make: MakeExecutor, tmp_path: Path) -> None:
    executor = make(2)
    log = str(tmp_path / "log")
    futures = [executor.submit(tasks.append, log, f"{number}\n") for number in range(2000)]
    kills = 0
    while not all(future.done() for future in futures):
        for report in executor.snapshot()[:1]:
            if isinstance(report.worker, int) and kills < 30:
                kills += 1
                with suppress(ProcessLookupError):
                    os.kill(report.worker, signal.SIGKILL)
        time.sleep(0.002)
    outcomes = [future.exception(60) for future in futures]
    assert all(outcome is None or isinstance(outcome, WorkerDied) for outcome in outcomes)
    ran = [int(line) for line in Path(log).read_text().split()]
    assert len(ran) == len(set(ran))
    succeeded = {number for number, outcome in enumerate(outcomes) if outcome is None}
    assert succeeded <= set(ran)
    # A worker can be killed between the end of its task and its news of it.
    assert len(ran) - len(succeeded) <= executor.stats().died
    assert sum(outcome is not None for outcome in outcomes) <= executor.stats().died


def test_a_time_limit_kills_no_other_task(make: MakeExecutor) -> None:
    executor = make(2)
    # Ends and limits meet all the time, so some tasks end while their worker is about to be killed.
    futures = [executor.options(timeout=0.03).submit(tasks.sleep, 0.02 + n % 20 / 1000) for n in range(60)]
    outcomes = [future.exception(60) for future in futures]
    assert all(outcome is None or isinstance(outcome, TaskTimeout) for outcome in outcomes)
    stats = executor.stats()
    assert stats.timed_out == sum(outcome is not None for outcome in outcomes)
    assert executor.submit(tasks.add, 1).result(60) == 2


def test_retries_run_again_what_is_idempotent(executor: Executor, tmp_path: Path) -> None:
    assert executor.options(retries=1).submit(tasks.die_at_first, str(tmp_path)).result(60) == 2
    assert executor.stats().retried == 1
    with pytest.raises(WorkerDied, match="at attempt 3"):
        executor.options(retries=2).submit(tasks.kill_self).result(60)


def test_what_cannot_be_sent_fails_that_task(executor: Executor) -> None:
    assert isinstance(executor.submit(tasks.same, threading.Lock()).exception(60), CodecError)
    with pytest.raises(CodecError, match="the result of generator, a generator, cannot be sent back"):
        executor.submit(tasks.generator).result(60)
    with pytest.raises(RemoteError, match=r"executor_tasks.Unsendable: secret"):
        executor.submit(tasks.raise_unsendable).result(60)
    with pytest.raises(RemoteError, match=r"executor_tasks.Unprintable: <exception str\(\) failed>"):
        executor.submit(tasks.raise_unprintable).result(60)
    with pytest.raises(RemoteError, match=r"executor_tasks.Unmakeable: two words") as caught:
        executor.submit(tasks.raise_unmakeable).result(60)
    assert "raise_unmakeable" in str(caught.value.__cause__)
    assert executor.submit(tasks.add, 1).result(60) == 2


def test_functions_that_go_by_value(executor: Executor) -> None:
    pytest.importorskip("cloudpickle", reason="cloudpickle sends functions that pickle cannot; it is not installed")
    base = 10
    assert list(executor.map(lambda number: number + base, range(5))) == [10, 11, 12, 13, 14]
    counter: list[int] = []

    def count() -> int:
        counter.append(1)
        return len(counter)

    # Each task gets the function as it is then; what a task changes stays in that worker's copy.
    assert [executor.submit(count).result(60) for _ in range(3)] == [1, 1, 1]


def test_without_cloudpickle_a_lambda_is_a_clear_error(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(CodecError, match="define it at the top of a module, or install cloudpickle"):
        executor.submit(lambda: 1).result(60)


def test_workers_that_cannot_start_break_the_executor(make: MakeExecutor) -> None:
    executor = make(1, initializer=tasks.exit_hard_at_start)
    with pytest.raises(BrokenExecutor, match="exited with code 7"):
        executor.submit(tasks.add, 1).result(60)


def test_a_process_that_the_worker_started_does_not_hide_its_death(make: MakeExecutor) -> None:
    executor = make(1)
    grandchild = executor.submit(tasks.start_grandchild, 600).result(60)
    try:
        with pytest.raises(WorkerDied):
            executor.submit(tasks.exit_hard, 1).result(60)
    finally:
        os.kill(grandchild, signal.SIGKILL)


def test_arrays_are_looked_at_where_they_are(make: MakeExecutor) -> None:
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    executor = make(1)
    large = np.arange(1_000_000, dtype="f8")
    assert executor.submit(tasks.sum_of, large).result(60) == large.sum()
    assert not executor.submit(tasks.is_writeable, large).result(60)
    assert executor.submit(tasks.is_writeable, large[:10]).result(60)
    back = executor.submit(tasks.same, {"a": large, "b": [large[::2]]}).result(60)
    executor.shutdown()
    np.testing.assert_array_equal(back["a"], large)
    np.testing.assert_array_equal(back["b"][0], large[::2])
    assert not back["a"].flags.writeable


def test_results_give_their_memory_back(make: MakeExecutor) -> None:
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    executor = make(1)
    channel = executor._backend._channel  # type: ignore[attr-defined]
    for _ in range(20):
        executor.submit(tasks.same, np.ones(200_000)).result(60)
        executor.submit(tasks.same, b"x" * 500_000).result(60)
    gc.collect()
    executor.submit(tasks.add, 1).result(60)
    assert channel.tasks.stats().bytes_used + channel.news.stats().bytes_used < 4_000_000


def test_a_fork_leaves_the_parent_s_executor_alone(executor: Executor, tmp_path: Path) -> None:
    assert executor.submit(tasks.add, 1).result(60) == 2
    go = str(tmp_path / "go")
    future = executor.submit(tasks.wait_for_file, go)
    pid = os.fork()
    if pid == 0:
        try:
            executor.submit(tasks.add, 1)
        except RuntimeError as error:
            os._exit(0 if "make a new one" in str(error) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    Path(go).touch()
    assert future.result(60) == go


def test_a_result_larger_than_the_store_fails_that_task(monkeypatch: pytest.MonkeyPatch, make: MakeExecutor) -> None:
    monkeypatch.setattr("offgil.executor.processes._store_size", lambda: 1 << 22)
    executor = make(1)
    with pytest.raises(StoreFull):
        executor.submit(tasks.same, b"x" * (5 << 20)).result(60)
    with pytest.raises(StoreFull):
        executor.submit(bytes, 5 << 20).result(60)
    assert executor.submit(tasks.add, 1).result(60) == 2


def test_more_data_than_the_store_holds_passes_through(monkeypatch: pytest.MonkeyPatch, make: MakeExecutor) -> None:
    monkeypatch.setattr("offgil.executor.processes._store_size", lambda: 1 << 22)
    executor = make(2)
    futures = [executor.submit(tasks.same, bytes([number]) * 1_000_000) for number in range(40)]
    assert wait(futures, 60).not_done == set()
    assert [future.result()[:1] for future in futures] == [bytes([number]) for number in range(40)]


def test_results_that_are_kept_do_not_stop_others(monkeypatch: pytest.MonkeyPatch, make: MakeExecutor) -> None:
    np = pytest.importorskip("numpy", reason="numpy is not installed")
    monkeypatch.setattr("offgil.executor.processes._store_size", lambda: 1 << 22)
    executor = make(2)
    kept: list[Any] = [executor.submit(tasks.same, np.full(100_000, number)).result(60) for number in range(20)]
    assert [int(array[0]) for array in kept] == list(range(20))
