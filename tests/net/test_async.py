"""AsyncClient in its event loop: many tasks, several loops, loops that end early, threads, forks."""

import asyncio
import gc
import os
import pickle
import select
import subprocess
import sys
import time

import pytest

import offgil
from offgil import AsyncClient, Request, _core
from stalls import until_gone, until_stalled


def echoed(response):
    return response.json()["body"]


def test_tasks_get_their_own_answers(echo):
    async def main():
        async with AsyncClient(base_url=echo.url, max_connections=8) as client:
            bodies = [str(number) for number in range(300)]
            answers = await asyncio.gather(*(client.post("/", content=body) for body in bodies))
            assert [echoed(answer) for answer in answers] == bodies
            assert client.stats().in_flight == 0

    asyncio.run(main())
    assert len(echo.ports) <= 8


@pytest.mark.parametrize("method", ["get", "head", "options", "delete", "post", "put", "patch"])
def test_every_method(echo, method):
    async def main():
        async with AsyncClient(base_url=echo.url) as client:
            response = await getattr(client, method)("/path", params={"q": 1})
            assert response.url == f"{echo.url}/path?q=1"
            assert method == "head" or response.json()["method"] == method.upper()

    asyncio.run(main())


def test_other_tasks_run_while_a_request_waits(stalls):
    async def main():
        async with AsyncClient(base_url=stalls.url) as client:
            task = asyncio.create_task(client.get("/stall"))
            await until_stalled(stalls)
            assert (await client.get("/")).content == b"ok"
            assert not task.done()
            task.cancel()

    asyncio.run(main())


def test_a_client_outlives_its_event_loops(echo):
    client = AsyncClient(base_url=echo.url)

    async def call():
        return (await client.get("/")).json()["port"]

    ports = {asyncio.run(call()) for _ in range(3)}
    assert len(ports) == 1
    assert len(client._ports) == 1  # of loops that are closed there are no traces
    asyncio.run(client.aclose())


def test_loops_in_threads_share_a_client(echo, barrier_threads):
    client = AsyncClient(base_url=echo.url)

    def work(number):
        async def main():
            bodies = [f"{number}-{i}" for i in range(40)]
            answers = await asyncio.gather(*(client.post("/", content=body) for body in bodies))
            return [echoed(answer) for answer in answers] == bodies

        return asyncio.run(main())

    assert barrier_threads(6, work) == [True] * 6
    asyncio.run(client.aclose())
    assert client.stats().in_flight == 0


def test_threads_race_with_a_close(echo, barrier_threads):
    for _ in range(5):
        client = AsyncClient(base_url=echo.url)

        def work(number, client=client):
            async def go_on():
                while True:
                    await client.get("/")

            async def main():
                if number == 0:
                    await client.aclose()
                    return
                with pytest.raises(offgil.Closed):
                    await go_on()

            asyncio.run(main())

        barrier_threads(4, work)


def test_a_loop_that_is_closed_takes_its_requests_along(stalls):
    """Neither awaited nor cancelled: what a program does that stops in the middle."""
    client = AsyncClient(base_url=stalls.url)

    loop = asyncio.new_event_loop()
    tasks = [loop.create_task(client.post("/stall", content=b"x" * 100_000)) for _ in range(3)]
    loop.run_until_complete(until_stalled(stalls))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    for task in tasks:
        task._log_destroy_pending = False  # asyncio would tell, rightly
    del tasks, task

    async def call():
        answer = await client.get("/")
        for _ in range(3):
            await until_gone(stalls)
        return answer

    assert asyncio.run(call()).content == b"ok"
    assert client.stats().in_flight == 0
    assert list(client._ports) != [loop]
    asyncio.run(client.aclose())
    gc.collect()


def test_a_client_that_is_dropped_ends_its_thread(stalls):
    def threads():
        return len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0

    async def main():
        client = AsyncClient(base_url=stalls.url)
        await client.get("/")
        del client
        gc.collect()

    before = threads()
    for _ in range(3):
        asyncio.run(main())
    gc.collect()
    # The server's threads see the end of their connections a little later.
    deadline = time.monotonic() + 30
    while threads() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() <= before


EXIT = """
import asyncio, sys, offgil
client = offgil.AsyncClient()
async def main():
    await client.get(sys.argv[1])
    task = asyncio.create_task(client.get(sys.argv[1] + "/stall"))
    await asyncio.sleep(0.05)
    {end}
asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["pass", "sys.exit()", "task.cancel()"])
def test_a_program_may_end_without_closing(stalls, end):
    done = subprocess.run(
        [sys.executable, "-c", EXIT.format(end=end), stalls.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_uses_its_own_connections(echo):
    client = AsyncClient(base_url=echo.url)

    async def port():
        return (await client.get("/")).json()["port"]

    async def fork():
        mine = await port()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                # The parent's loop is no use here.
                asyncio.events._set_running_loop(None)
                code = 0 if asyncio.run(port()) != mine else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert await port() == mine
        await client.aclose()

    asyncio.run(fork())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_loop_that_was_used_before_a_fork_is_refused_after_it(echo):
    client = AsyncClient(base_url=echo.url)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.get("/"))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            loop.run_until_complete(client.get("/"))
        except offgil.Closed as error:
            code = 0 if "forked" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert loop.run_until_complete(client.get("/")).status_code == 200
    loop.run_until_complete(client.aclose())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_leaves_the_wake_up_to_its_parent(echo):
    core = _core.Client(_core.Config(), offgil.Response)
    mailbox = _core.Mailbox(core, _core.AsyncStream)
    number = mailbox.submit("GET", echo.url, None, None, (None,) * 5, None, False)
    assert select.select([mailbox], [], [], 60)[0]
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            del mailbox
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert select.select([mailbox], [], [], 0)[0]
    [(of, response)] = mailbox.take()
    assert (of, response.status_code) == (number, 200)
    core.close()


def test_without_an_event_loop():
    coroutine = AsyncClient().get("http://127.0.0.1:1/")
    with pytest.raises(offgil.NoEventLoop, match=r"offgil\.Client"):
        coroutine.send(None)


def test_pickles_as_its_configuration(echo):
    client = pickle.loads(pickle.dumps(AsyncClient(base_url=echo.url, headers={"X-Me": "1"}, max_connections=2)))

    async def main():
        async with client:
            return (await client.get("/")).json()["headers"]

    assert ["X-Me", "1"] in asyncio.run(main())


def test_map_takes_what_an_async_iterable_gives_and_yields_meanwhile(echo):
    async def main():
        first_is_out = asyncio.Event()

        async def requests():
            yield Request("POST", "/", content="first")
            await first_is_out.wait()
            for number in range(50):
                yield Request("POST", "/", content=str(number))

        async with AsyncClient(base_url=echo.url) as client:
            outcomes = client.map(requests(), concurrency=4)
            assert echoed(await anext(outcomes)) == "first"
            first_is_out.set()
            assert [echoed(outcome) async for outcome in outcomes] == [str(number) for number in range(50)]

    asyncio.run(main())


def test_an_async_iterable_that_fails_ends_map(stalls):
    async def main():
        async def requests():
            yield "/stall"
            await until_stalled(stalls)
            raise LookupError

        async with AsyncClient(base_url=stalls.url) as client:
            with pytest.raises(LookupError):
                await anext(client.map(requests()))
            await until_gone(stalls)

    asyncio.run(main())


@pytest.mark.parametrize("way", ["aclose", "cancel"])
def test_leaving_map_ends_its_requests(stalls, way):
    async def main():
        async with AsyncClient(base_url=stalls.url) as client:
            outcomes = client.map(["/", "/stall", "/stall"])
            assert (await anext(outcomes)).content == b"ok"
            task = asyncio.ensure_future(anext(outcomes))
            for _ in range(2):
                await until_stalled(stalls)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if way == "aclose":
                await outcomes.aclose()
            for _ in range(2):
                await until_gone(stalls)
            assert client.stats().in_flight == 0

    asyncio.run(main())


def test_closing_ends_map(stalls):
    async def main():
        client = AsyncClient(base_url=stalls.url)
        task = asyncio.ensure_future(anext(client.map(["/stall"])))
        await until_stalled(stalls)
        await client.aclose()
        with pytest.raises(offgil.Closed):
            await task

    asyncio.run(main())
