"""Limits, cancelling and closing of AsyncClient."""

import asyncio
import threading
import time

import pytest

import offgil
from offgil import AsyncClient, CancelToken, Retry, Timeout
from stalls import until_gone, until_stalled

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"


def test_cancelling_a_task_ends_its_connection_at_once(stalls):
    async def main():
        async with AsyncClient(base_url=stalls.url) as client:
            task = asyncio.create_task(client.post("/stall", content=b"x" * 100_000))
            await until_stalled(stalls)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until_gone(stalls)
            assert client.stats().in_flight == 0
            assert (await client.get("/")).content == b"ok"

    asyncio.run(main())


def test_timeouts_of_asyncio(stalls):
    async def main():
        async with AsyncClient(base_url=stalls.url) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.get("/stall")
            await until_gone(stalls)

    asyncio.run(main())


def test_many_are_cancelled_together(stalls):
    async def main():
        async with AsyncClient(base_url=stalls.url) as client:
            tasks = [asyncio.create_task(client.get("/stall")) for _ in range(50)]
            for _ in range(50):
                await until_stalled(stalls)
            for task in tasks:
                task.cancel()
            assert {type(end) for end in await asyncio.gather(*tasks, return_exceptions=True)} == {
                asyncio.CancelledError
            }
            for _ in range(50):
                await until_gone(stalls)

    asyncio.run(main())


def test_a_request_that_is_cancelled_before_it_runs_is_not_sent(echo):
    async def main():
        async with AsyncClient(base_url=echo.url, max_connections=1) as client:
            task = asyncio.create_task(client.get("/"))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            token = CancelToken()
            token.cancel()
            with pytest.raises(offgil.Cancelled):
                await client.get("/", cancel=token)

    asyncio.run(main())
    assert echo.requests == 0


def test_a_task_that_is_cancelled_as_its_answer_arrives(serve):
    """Answer and cancellation reach the loop in one turn, in either order."""

    def script(peer, _):
        while peer.read_request():
            peer.answer()

    async def main():
        async with AsyncClient(base_url=serve(script).url) as client:
            for number in range(200):
                task = asyncio.create_task(client.get("/"))
                await asyncio.sleep(0)
                # Long enough for the answer to wait in the mailbox while the loop is busy here.
                time.sleep((number % 5) * 0.0005)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert (await client.get("/")).content == b"ok"
            assert not client._port()._waiting

    asyncio.run(main())


def test_limits(stalls):
    async def main():
        async with AsyncClient(base_url=stalls.url, max_connections=1) as client:
            with pytest.raises(offgil.ReadTimeout):
                await client.get("/stall", timeout=Timeout(read=0.05))
            with pytest.raises(offgil.DeadlineExceeded):
                await client.get("/stall", deadline=0.05)
            for _ in range(2):
                await until_stalled(stalls)
            holder = asyncio.create_task(client.get("/stall"))
            await until_stalled(stalls)
            with pytest.raises(offgil.PoolTimeout, match="max_connections"):
                await client.get("/", timeout=Timeout(pool=0.02))
            with pytest.raises(offgil.DeadlineExceeded):
                await client.get("/", deadline=0.02)
            waiters = [asyncio.create_task(client.get("/")) for _ in range(4)]
            await asyncio.sleep(0)
            holder.cancel()
            assert [answer.content for answer in await asyncio.gather(*waiters)] == [b"ok"] * 4
            stats = client.stats()
            assert stats.errors == {"ReadTimeout": 1, "DeadlineExceeded": 2, "PoolTimeout": 1}

    asyncio.run(main())


@pytest.mark.parametrize("limit", [0, 1e-9, 1e-5])
def test_limits_far_below_a_millisecond(stalls, limit):
    async def main():
        async with AsyncClient(base_url=stalls.url) as client:
            with pytest.raises(offgil.TimeoutException):
                await client.get("/stall", deadline=limit)
            with pytest.raises(offgil.ReadTimeout):
                await client.get("/stall", timeout=Timeout(read=limit))

    asyncio.run(main())


def test_a_token_from_another_thread(stalls):
    async def main():
        async with AsyncClient(base_url=stalls.url, max_connections=1) as client:
            token = CancelToken()
            tasks = [asyncio.create_task(client.get("/stall", cancel=token)) for _ in range(3)]
            await until_stalled(stalls)
            threading.Thread(target=token.cancel).start()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(end) for end in ends] == [offgil.Cancelled] * 3
            assert (await client.get("/")).content == b"ok"

    asyncio.run(main())


def test_idle_connections_count_and_make_room(serve, echo):
    def script(peer, _):
        while peer.read_request():
            peer.answer()

    async def main():
        other = serve(script)
        async with AsyncClient(max_connections=1) as client:
            for _ in range(3):
                await client.get(echo.url)
                await client.get(other.url)
            assert client.stats().connections_opened == 6
        async with AsyncClient(max_keepalive=0) as client:
            await client.get(echo.url)
            await client.get(echo.url)
            assert client.stats().connections_opened == 2

    asyncio.run(main())


def test_max_keepalive_does_not_cost_those_in_flight_their_connections(serve):
    lock = threading.Lock()
    opened = 0

    def script(peer, _):
        nonlocal opened
        with lock:
            opened += 1
        while peer.read_request():
            peer.answer()
        with lock:
            opened -= 1

    async def main():
        async with AsyncClient(base_url=serve(script).url, max_keepalive=2) as client:

            async def work():
                for _ in range(20):
                    await client.get("/")

            await asyncio.gather(*(work() for _ in range(16)))
            assert client.stats().connections_opened == 16
            # What is too much goes by and by.
            async with asyncio.timeout(60):
                while opened > 3:
                    await client.get("/")
                    await asyncio.sleep(0.05)

    asyncio.run(main())


def failing(times, seen):
    def script(peer, _):
        while request := peer.read_request():
            seen.append(request.split()[0])
            if len(seen) > times:
                peer.answer()
            else:
                peer.send(BUSY)

    return script


def test_retries(serve):
    seen = []

    async def main():
        retry = Retry(attempts=4, backoff=0.001)
        async with AsyncClient(base_url=serve(failing(2, seen)).url, retry=retry) as client:
            assert (await client.get("/")).content == b"ok"
            assert client.stats().retries == 2

    asyncio.run(main())
    assert len(seen) == 3


@pytest.mark.parametrize("end", ["close", "token", "task"])
@pytest.mark.parametrize("way", ["get", "map"])
def test_a_pause_between_attempts_can_be_ended(serve, way, end):
    seen = []

    async def main():
        retry = Retry(attempts=2, backoff=60, jitter=0)
        client = AsyncClient(base_url=serve(failing(100, seen)).url, retry=retry)
        token = CancelToken()
        request = offgil.Request("GET", "/", cancel=token)
        call = client.get("/", cancel=token) if way == "get" else anext(client.map([request]))
        task = asyncio.ensure_future(call)
        while client.stats().requests < 1:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        if end == "close":
            await client.aclose()
        elif end == "token":
            token.cancel()
        else:
            task.cancel()
        [outcome] = await asyncio.gather(task, return_exceptions=True)
        wanted = {"close": offgil.Closed, "token": offgil.Cancelled, "task": asyncio.CancelledError}
        assert type(outcome) is wanted[end]
        await client.aclose()

    asyncio.run(main())
    assert len(seen) == 1


def test_closing_ends_everything_in_every_loop(stalls):
    client = AsyncClient(base_url=stalls.url, max_connections=2)
    ends = []

    def work():
        async def main():
            tasks = [asyncio.create_task(client.get("/stall")) for _ in range(3)]
            ends.extend(await asyncio.gather(*tasks, return_exceptions=True))

        asyncio.run(main())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()

    async def close():
        for _ in range(2):
            await until_stalled(stalls)
        while client.stats().in_flight < 6:
            await asyncio.sleep(0.001)
        own = asyncio.create_task(client.get("/stall"))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(offgil.Closed):
            await own
        with pytest.raises(offgil.Closed):
            await client.get("/")
        await client.aclose()

    asyncio.run(close())
    for thread in threads:
        thread.join()
    assert [type(end) for end in ends] == [offgil.Closed] * 6
    assert client.stats().in_flight == 0


def test_a_client_that_was_never_used_closes_without_a_thread():
    async def main():
        before = threading.active_count()
        client = AsyncClient()
        await client.aclose()
        with pytest.raises(offgil.Closed, match="closed"):
            await client.get("http://127.0.0.1:1/")
        return threading.active_count() - before

    assert asyncio.run(main()) <= 1  # asyncio's own for blocking work
