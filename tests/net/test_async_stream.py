"""Streams of AsyncClient and what is around them; what they have in common with the blocking ones is in test_stream."""

import asyncio
import gc
import os
import select
import subprocess
import sys
import threading
import time
import zlib

import pytest

import offgil
from offgil import AsyncClient, CancelToken, Timeout

HEAD = b"HTTP/1.1 200 OK\r\n"
ENDLESS = HEAD + b"\r\n"


def endless(peer, _):
    peer.read_request()
    peer.send(ENDLESS)
    while not peer.stop.is_set():
        peer.send(b"x" * 65536)


class Quiet:
    """Sends the head and "first", and then nothing; tells when the connection has gone."""

    def __init__(self):
        self.gone = threading.Semaphore(0)

    def __call__(self, peer, _):
        if not peer.read_request():
            return
        peer.send(ENDLESS + b"first")
        peer.sock.settimeout(30)
        assert peer.sock.recv(1) == b""
        self.gone.release()

    async def until_gone(self):
        assert await asyncio.to_thread(self.gone.acquire, timeout=30)


def test_streams_and_calls_side_by_side(serve, echo):
    async def main():
        server = serve(endless)
        async with (
            AsyncClient() as client,
            client.stream("GET", server.url) as one,
            client.stream("GET", server.url) as other,
        ):
            pieces, others = one.aiter_bytes(10), other.aiter_bytes(10)
            for _ in range(3):
                assert await anext(pieces) == await anext(others) == b"x" * 10
                assert (await client.get(echo.url)).status_code == 200
            assert client.stats().in_flight == 2

    asyncio.run(main())


def test_leaving_early_ends_the_connection(serve):
    async def main():
        async with AsyncClient() as client:
            for _ in range(5):
                async with client.stream("GET", server.url) as response:
                    pieces = response.aiter_bytes()
                    assert (await anext(pieces)).startswith(b"x")
                with pytest.raises(offgil.StreamClosed, match=f"GET {server.url}"):
                    await anext(pieces)
        assert client.stats().in_flight == 0

    server = serve(endless)
    asyncio.run(main())
    assert server.connections == 5


@pytest.mark.parametrize("where", ["head", "body"])
def test_cancelling_a_task_ends_its_stream(serve, stalls, where):
    quiet = Quiet()

    async def main():
        async with AsyncClient(max_connections=1) as client:
            reading = asyncio.Event()
            left = None

            async def read():
                nonlocal left
                url = stalls.url + "/stall" if where == "head" else serve(quiet).url
                async with client.stream("GET", url) as response:
                    left = response
                    async for piece in response.aiter_bytes():
                        assert piece == b"first"
                        reading.set()

            task = asyncio.create_task(read())
            if where == "head":
                assert await asyncio.to_thread(stalls.stalled.acquire, timeout=30)
            else:
                await reading.wait()
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if where == "head":
                assert await asyncio.to_thread(stalls.gone.acquire, timeout=30)
            else:
                await quiet.until_gone()
                with pytest.raises(offgil.StreamClosed):
                    await left.aread()
            assert (await client.get(stalls.url)).content == b"ok"

    asyncio.run(main())


def test_a_wait_that_times_out_ends_the_stream(serve):
    quiet = Quiet()

    async def main():
        async with AsyncClient() as client, client.stream("GET", serve(quiet).url) as response:
            pieces = response.aiter_bytes()
            assert await anext(pieces) == b"first"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(pieces), 0.05)
            await quiet.until_gone()
            with pytest.raises(offgil.StreamClosed):
                await anext(pieces)

    asyncio.run(main())


def test_a_forgotten_stream_is_cleaned_up(serve):
    quiet = Quiet()

    async def main():
        async with AsyncClient() as client:
            context = client.stream("GET", serve(quiet).url)
            response = await context.__aenter__()
            assert await anext(response.aiter_bytes()) == b"first"
            del response, context
            gc.collect()
            await quiet.until_gone()

    asyncio.run(main())


def test_the_read_timeout_is_for_each_wait(serve):
    asked = threading.Event()

    def script(peer, _):
        peer.read_request()
        peer.send(ENDLESS + b"one")
        asked.wait()
        peer.send(b"two")
        peer.stall()

    async def main():
        async with (
            AsyncClient(timeout=Timeout(read=0.3)) as client,
            client.stream("GET", serve(script).url) as response,
        ):
            pieces = response.aiter_bytes()
            assert await anext(pieces) == b"one"
            await asyncio.sleep(0.7)  # not a wait for the server
            asked.set()
            assert await anext(pieces) == b"two"
            started = time.monotonic()
            with pytest.raises(offgil.ReadTimeout):
                await anext(pieces)
            assert time.monotonic() - started >= 0.29

    asyncio.run(main())


@pytest.mark.parametrize("asleep", [False, True])
def test_the_deadline_is_for_the_whole(serve, asleep):
    def script(peer, _):
        peer.read_request()
        peer.send(ENDLESS)
        while not peer.stop.wait(0.02):
            peer.send(b"x")

    async def main():
        async with AsyncClient() as client, client.stream("GET", serve(script).url, deadline=0.3) as response:
            if asleep:
                await asyncio.sleep(0.5)
            for _ in range(2):
                with pytest.raises(offgil.DeadlineExceeded):
                    await response.aread()

    asyncio.run(main())


def test_a_token_ends_a_stream(serve):
    async def main():
        token = CancelToken()
        async with AsyncClient() as client, client.stream("GET", serve(Quiet()).url, cancel=token) as response:
            pieces = response.aiter_bytes()
            assert await anext(pieces) == b"first"
            asyncio.get_running_loop().call_later(0.05, token.cancel)
            with pytest.raises(offgil.Cancelled):
                await anext(pieces)

    asyncio.run(main())


def test_a_stream_is_one_of_max_connections(serve):
    async def main():
        server = serve(endless)
        async with AsyncClient(max_connections=1, timeout=Timeout(pool=0.1)) as client:
            async with client.stream("GET", server.url) as response:
                await anext(response.aiter_bytes())
                with pytest.raises(offgil.PoolTimeout):
                    async with client.stream("GET", server.url):
                        pass
            async with client.stream("GET", server.url) as response:
                await anext(response.aiter_bytes())
        assert client.stats().in_flight == 0

    asyncio.run(main())


def test_not_reading_is_the_back_pressure(serve):
    sent = 0
    stalled = threading.Event()
    resumed = threading.Event()

    def script(peer, _):
        nonlocal sent
        peer.read_request()
        peer.send(ENDLESS)
        peer.sock.setblocking(False)
        while not peer.stop.is_set():
            if select.select([], [peer.sock], [], 0.5)[1]:
                if stalled.is_set():
                    resumed.set()
                sent += peer.sock.send(b"x" * 65536)
            else:
                stalled.set()

    async def main():
        async with AsyncClient() as client, client.stream("GET", serve(script).url) as response:
            pieces = response.aiter_bytes()
            await anext(pieces)
            assert await asyncio.to_thread(stalled.wait, 60), f"{sent:,} bytes were taken that nobody asked for"
            assert sent < 64 << 20  # what the kernel's buffers hold
            while not resumed.is_set():
                assert len(await anext(pieces)) > 0

    asyncio.run(main())


SLOW_READER = """
import asyncio, sys, offgil

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

async def main():
    total = number = before = 0
    async with offgil.AsyncClient() as client, client.stream("GET", sys.argv[1]) as response:
        async for piece in response.aiter_bytes():
            if not before and total > 40 << 20:  # a piece may be 17 MB
                before = peak()
            if number % 50 == 0:
                await asyncio.sleep(0.002)
            number += 1
            total += len(piece)
            if total > 200 << 20:
                break
    print(peak() - before)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self")
@pytest.mark.parametrize("packed", [False, True])
def test_an_endless_body_needs_constant_memory(serve, packed):
    def bomb(peer, _):
        peer.read_request()
        peer.send(HEAD + b"Content-Encoding: gzip\r\n\r\n")
        deflate = zlib.compressobj(9, wbits=31)
        zeros = bytes(1 << 20)
        while not peer.stop.is_set():
            peer.send(deflate.compress(zeros))

    command = [sys.executable, "-c", SLOW_READER, serve(bomb if packed else endless).url]
    grown = int(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=300).stdout)
    # 16 KiB of deflate may be 17 MB of zeros, which libcurl, the core and Python hold one after the other.
    assert grown < (128 << 10 if packed else 8 << 10), f"{grown} KiB more at the peak after 200 MiB"


def test_closing_the_client_ends_its_streams(serve):
    async def main():
        client = AsyncClient()
        server = serve(Quiet())
        contexts = [client.stream("GET", server.url) for _ in range(2)]
        waiting, idle = [await context.__aenter__() for context in contexts]
        pieces = waiting.aiter_bytes()
        assert await anext(pieces) == b"first"
        task = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(offgil.Closed):
            await task
        with pytest.raises(offgil.Closed):
            await idle.aread()
        for context in contexts:
            await context.__aexit__(None, None, None)

    asyncio.run(main())


def test_a_second_task_is_refused(serve):
    async def main():
        async with AsyncClient() as client, client.stream("GET", serve(Quiet()).url) as response:
            pieces = response.aiter_bytes()
            assert await anext(pieces) == b"first"
            first = asyncio.ensure_future(anext(pieces))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="one task at a time"):
                await anext(pieces)
            await response.aclose()
            with pytest.raises(offgil.StreamClosed):
                await first

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_leaves_the_stream_alone(serve):
    asked = threading.Event()

    def script(peer, _):
        peer.read_request()
        peer.send(HEAD + b"Content-Length: 10\r\n\r\nfirst")
        asked.wait()
        peer.send(b"other")

    async def main():
        async with AsyncClient() as client, client.stream("GET", serve(script).url) as response:
            pieces = response.aiter_bytes()
            assert await anext(pieces) == b"first"
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    response.close()
                    gc.collect()
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            asked.set()
            assert [piece async for piece in pieces] == [b"other"]

    asyncio.run(main())
