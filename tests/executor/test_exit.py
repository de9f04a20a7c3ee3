"""Interpreters that end, and Ctrl-C, with an executor in them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

# Only tells "ends" from "hangs": a busy machine may take its time.
PATIENCE = 60

START = """
import os, sys, time
from multiprocessing import get_context
from offgil import Executor
sys.path.insert(0, {tests!r})
import executor_tasks as tasks

if __name__ == "__main__":
    executor = Executor(2, workers={kind!r}, context=get_context({method!r}))
"""
TESTS = str(Path(__file__).parents[1])

each = pytest.mark.parametrize(
    ("kind", "method"),
    [("threads", "fork"), ("processes", "fork"), ("processes", "forkserver"), ("processes", "spawn")],
)


def program(tmp_path: Path, kind: str, method: str, body: str) -> list[str]:
    if kind == "processes" and sys.platform != "linux":
        pytest.skip("worker processes need Linux")
    path = tmp_path / "program.py"
    indented = "\n".join(f"    {line}" for line in body.strip().splitlines())
    path.write_text(START.format(tests=TESTS, kind=kind, method=method) + indented + "\n")
    return [sys.executable, str(path)]


@each
def test_what_was_submitted_is_run_to_its_end(tmp_path: Path, kind: str, method: str) -> None:
    log = tmp_path / "log"
    body = f"for _ in range(5): executor.submit(tasks.append, {str(log)!r}, 'x')"
    done = subprocess.run(
        program(tmp_path, kind, method, body), timeout=PATIENCE, check=True, capture_output=True, text=True
    )
    assert log.read_text() == "xxxxx"
    assert done.stderr == ""


@each
def test_an_executor_that_was_never_used(tmp_path: Path, kind: str, method: str) -> None:
    done = subprocess.run(program(tmp_path, kind, method, "pass"), timeout=PATIENCE, check=True, capture_output=True)
    assert done.stderr == b""


@each
def test_an_executor_that_is_made_at_the_end(tmp_path: Path, kind: str, method: str) -> None:
    if sys.version_info[:2] == (3, 12):
        pytest.skip("3.12 starts no thread at its end")
    body = """
import atexit
atexit.register(lambda: print(Executor(1, workers={kind!r}).submit(tasks.add, 1).result()))
"""
    command = program(tmp_path, kind, method, body.replace("{kind!r}", repr(kind)))
    done = subprocess.run(command, timeout=PATIENCE, check=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("2\n", "")


@each
@pytest.mark.parametrize("place", ["list(results)", "pass"], ids=["map", "the end of the block"])
def test_ctrl_c_ends_at_once(tmp_path: Path, kind: str, method: str, place: str) -> None:
    body = f"""
try:
    with executor:
        executor.submit(tasks.add, 1).result()
        results = executor.map(tasks.wait_for_file, [{str(tmp_path / "never")!r}] * 50)
        print("ready", flush=True)
        {place}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with subprocess.Popen(program(tmp_path, kind, method, body), stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(0.2)
        started = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=PATIENCE)[0] == "interrupted\n"
        # The tasks would give up by themselves after 60 seconds.
        assert time.monotonic() - started < 50
    assert child.returncode == 0


def test_an_interrupt_while_workers_are_started_loses_none(tmp_path: Path) -> None:
    body = """
import random, signal
class Interrupted(BaseException):
    pass
def interrupt(*_):
    raise Interrupted
signal.signal(signal.SIGALRM, interrupt)
delays = random.Random(7)
for _ in range(50):
    executor = Executor(3, workers="processes", context=get_context("fork"))
    try:
        signal.setitimer(signal.ITIMER_REAL, delays.uniform(1e-5, 0.02))
        executor.submit(tasks.add, 1)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except Interrupted:
        pass
    assert list(executor.map(tasks.add, range(6))) == list(range(1, 7))
    executor.shutdown()
    try:
        raise AssertionError(os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        pass  # there is none, also none that has ended
"""
    command = program(tmp_path, "processes", "fork", body)
    done = subprocess.run(command, timeout=PATIENCE, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


MANY_TASKS = """
for _ in range(1000):  # of which the workers are not to run more than one
    executor.submit(tasks.sleep, 1)
"""
FULL_STORE = """
import offgil
executor.shutdown()
offgil.executor.processes._store_size = lambda: 1 << 22
executor = Executor(2, workers="processes", context=get_context("fork"))
executor.submit(tasks.add, 1).add_done_callback(lambda future: time.sleep(600))  # nothing is read any more
for _ in range(20):
    executor.submit(bytes, 1_000_000)
news = executor._backend._channel.news
while news.stats().memory_used < 3_000_000:
    time.sleep(0.01)
time.sleep(0.1)  # for the next ones to find no room
"""
A_FORK = """
if os.fork() == 0:  # holds every pipe of its parent's, and outlives it
    sys.stdin.read()
    os._exit(0)
"""


@pytest.mark.parametrize(
    ("meanwhile", "method"),
    [
        pytest.param(MANY_TASKS, "fork", id="fork"),
        pytest.param(MANY_TASKS, "forkserver", id="forkserver"),
        pytest.param(MANY_TASKS, "spawn", id="spawn"),
        pytest.param(FULL_STORE, "fork", id="a full store"),
        pytest.param(A_FORK, "forkserver", id="a fork that lives on"),
    ],
)
def test_workers_end_when_their_parent_is_killed(tmp_path: Path, meanwhile: str, method: str) -> None:
    body = f"""
executor.submit(tasks.add, 1).result()
{meanwhile}
print(*(worker.pid for worker in executor._backend._workers.values()), flush=True)
time.sleep(600)
"""
    command = program(tmp_path, "processes", method, body)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        workers = [int(pid) for pid in child.stdout.readline().split()]
        child.kill()
        assert workers
        until = time.monotonic() + PATIENCE
        try:
            while any(alive(pid) for pid in workers):
                assert time.monotonic() < until, workers
                time.sleep(0.05)
        finally:
            for pid in filter(alive, workers):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


@each
def test_os_fork_and_a_normal_exit_of_the_child(tmp_path: Path, kind: str, method: str) -> None:
    body = """
executor.submit(tasks.add, 1).result()
running = executor.submit(tasks.sleep, 0.5)
pid = os.fork()
if pid == 0:
    sys.exit(5)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
print(running.result(), executor.submit(tasks.add, 2).result())
"""
    env = {**os.environ, "PYTHONWARNINGS": "ignore::DeprecationWarning"}
    done = subprocess.run(
        program(tmp_path, kind, method, body), timeout=PATIENCE, capture_output=True, text=True, env=env, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("0.5 3\n", "", 0)
