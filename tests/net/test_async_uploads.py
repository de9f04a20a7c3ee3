"""Request bodies that asynchronous iterables yield to an AsyncClient."""

import asyncio

import pytest

import offgil
from offgil import AsyncClient, Request, Retry

BIG = bytes(range(256)) * 4096  # 1 MiB


async def slowly(*pieces):
    for piece in pieces:
        await asyncio.sleep(0.001)
        yield piece


class Anew:
    """Can be iterated over any number of times."""

    def __init__(self, *pieces):
        self.pieces = pieces

    def __aiter__(self):
        return slowly(*self.pieces)


def run(main, **options):
    async def with_client():
        async with AsyncClient(**options) as client:
            await main(client)
            assert client.stats().in_flight == 0

    asyncio.run(with_client())


@pytest.mark.parametrize("announced", [False, True], ids=["chunked", "Content-Length"])
@pytest.mark.parametrize(
    "pieces",
    [(), (b"",), (b"one",), (b"one", b"", bytearray(b"two"), memoryview(b"three")), (BIG, BIG)],
    ids=["none", "empty", "one", "several", "large"],
)
def test_it_is_sent_as_it_is(url, recorder, pieces, announced):
    whole = b"".join(pieces)
    headers = {"Content-Length": str(len(whole))} if announced else {}

    async def main(client):
        assert (await client.post(url, content=slowly(*pieces), headers=headers)).content == b"ok"
        async with client.stream("PUT", url, content=slowly(*pieces), headers=headers) as response:
            assert await response.aread() == b"ok"

    run(main)
    assert recorder.bodies == [whole, whole]


def test_other_requests_run_while_it_waits(url, recorder):
    async def main(client):
        release = asyncio.Event()

        async def waits():
            yield b"before "
            await release.wait()
            yield b"after"

        task = asyncio.create_task(client.post(url, content=waits()))
        assert (await client.post(url, content=b"meanwhile")).content == b"ok"
        release.set()
        assert (await task).content == b"ok"

    run(main)
    assert recorder.bodies == [b"meanwhile", b"before after"]


def test_the_wish_for_more_may_come_while_a_piece_is_awaited(url, recorder):
    async def main(client):
        unhandled = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        await client.post(url, content=b"opens a connection")  # so that the next one is sent at once

        async def waits():
            yield b"first "
            await asyncio.sleep(0.02)
            yield b"second"

        for _ in range(5):
            assert (await client.post(url, content=waits())).content == b"ok"
        assert unhandled == []

    run(main)
    assert recorder.bodies[-1] == b"first second"


def test_a_body_goes_on_while_its_answer_is_read(serve):
    def script(peer, _):
        came = b""
        for wanted, answer in (
            (b"\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (b"one\r\n", b"3\r\none\r\n"),
            (b"two\r\n", b"3\r\ntwo\r\n"),
            (b"0\r\n\r\n", b"0\r\n\r\n"),
        ):
            while wanted not in came:
                came += peer.more()
            peer.send(answer)

    async def main(client):
        async with client.stream("POST", serve(script).url, content=slowly(b"one", b"two")) as response:
            assert await response.aread() == b"onetwo"

    run(main)


def test_what_it_raises_ends_the_request_and_is_raised(url, recorder):
    class MineError(Exception):
        pass

    async def fails(before):
        for piece in before:
            yield piece
        raise MineError

    async def main(client):
        for before in ([], [b"some"], [BIG]):
            with pytest.raises(MineError):
                await client.post(url, content=fails(before))
            with pytest.raises(MineError):
                async with client.stream("PUT", url, content=fails(before)):
                    pass
        assert (await client.post(url, content=b"next")).content == b"ok"

    run(main)
    assert recorder.bodies == [b"next"]


def test_cancelling_ends_the_request_and_the_iterable(url, recorder):
    async def main(client):
        asked, over = asyncio.Event(), asyncio.Event()

        async def never():
            try:
                asked.set()
                await asyncio.Event().wait()
                yield b"never"
            finally:
                over.set()

        task = asyncio.create_task(client.post(url, content=never()))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert over.is_set()
        assert (await client.post(url, content=b"next")).content == b"ok"

    run(main)
    assert recorder.bodies == [b"next"]


@pytest.mark.parametrize(("length", "wanted"), [(3, "longer than its Content-Length"), (9, "ended after 6 of its")])
def test_an_announced_length_is_kept(url, recorder, length, wanted):
    async def main(client):
        with pytest.raises(offgil.LocalProtocolError, match=wanted):
            await client.post(url, content=slowly(b"abc", b"def"), headers={"Content-Length": str(length)})
        assert (await client.post(url, content=b"next")).content == b"ok"

    run(main)
    assert recorder.bodies == [b"next"]


@pytest.mark.parametrize("anew", [False, True])
def test_it_is_sent_again_if_it_can_be_read_again(url, recorder, anew):
    async def main(client):
        content = Anew(b"one", b"two") if anew else slowly(b"one", b"two")
        response = await client.put(f"{url}/busy", content=content)
        assert response.status_code == (200 if anew else 503)
        content = Anew(b"one", b"two") if anew else slowly(b"one", b"two")
        if anew:
            assert (await client.post(f"{url}/old", content=content)).content == b"ok"
        else:
            with pytest.raises(offgil.StreamConsumed, match="asynchronous iterator"):
                await client.post(f"{url}/old", content=content)

    run(main, follow_redirects=True, retry=Retry(attempts=2, backoff=0.001, jitter=0))
    assert recorder.bodies == [b"onetwo"] * (4 if anew else 2)


def test_what_cannot_be_sent_is_refused(url, recorder):
    async def main(client):
        for pieces, wanted in (([1], "not int"), (["text"], "not str")):
            with pytest.raises(TypeError, match=wanted):
                await client.post(url, content=slowly(*pieces))
        with pytest.raises(TypeError, match="either"):
            await client.post(url, content=slowly(b"piece"), json=1)
        with pytest.raises(TypeError, match="asynchronous iterable"):
            await client.post(url, content=iter([b"piece"]))
        with pytest.raises(TypeError, match="asynchronous iterable"):
            async for _ in client.map([Request("POST", url, content=slowly(b"piece"))]):
                pass
        assert (await client.post(url, content=b"next")).content == b"ok"

    run(main)
    assert recorder.bodies == [b"next"]
