"""Ends of processes, told to an event loop."""

import asyncio
import multiprocessing
import os
import signal
import sys
import time

import pytest

if sys.platform != "linux":
    pytest.skip("pidfds are Linux's", allow_module_level=True)

from offgil.exits import Exits


@pytest.fixture
def sleeper():
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    child.start()
    yield child
    child.kill()
    child.join()


def test_an_end_is_told_once(sleeper):
    async def main():
        told = []
        exits = Exits(told.append)
        exits.watch(sleeper.pid)
        exits.watch(sleeper.pid)
        await asyncio.sleep(0.05)
        assert told == []
        os.kill(sleeper.pid, signal.SIGKILL)
        for _ in range(1000):
            await asyncio.sleep(0.01)
            if told:
                break
        await asyncio.sleep(0.05)
        assert told == [sleeper.pid]
        sleeper.join()
        exits.watch(sleeper.pid)  # is long gone
        await asyncio.sleep(0.01)
        assert told == [sleeper.pid] * 2

    asyncio.run(main())


def test_close_tells_no_more(sleeper):
    async def main():
        told = []
        exits = Exits(told.append)
        exits.watch(sleeper.pid)
        exits.close()
        sleeper.kill()
        sleeper.join()
        await asyncio.sleep(0.05)
        assert told == []

    asyncio.run(main())


def test_a_system_without_pidfds_is_logged(sleeper, monkeypatch, caplog):
    def refuse(pid):
        raise PermissionError(1, "no pidfds here")

    async def main():
        told = []
        monkeypatch.setattr(os, "pidfd_open", refuse)
        exits = Exits(told.append)
        exits.watch(sleeper.pid)
        exits.close()
        await asyncio.sleep(0.01)
        assert told == []

    asyncio.run(main())
    assert f"the end of process {sleeper.pid} will not be noticed" in caplog.text
