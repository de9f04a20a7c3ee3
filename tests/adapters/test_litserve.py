"""LitServe's transport over a store: what LitServe asks of it."""

import asyncio
import multiprocessing
import queue
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("litserve", reason="litserve is not installed")
from fastapi import HTTPException
from litserve.utils import LoopResponseType

from mailbox_sides import answer_and_die, take_and_die
from offgil.adapters.litserve import RequestQueue, StoreTransport
from offgil.store import ManagedDictStore
from offgil.store.mailboxes import Mailboxes

SPAWN = multiprocessing.get_context("spawn")
REGULAR, STREAMING = LoopResponseType.REGULAR, LoopResponseType.STREAMING


@pytest.fixture
def transport():
    made = StoreTransport(Mailboxes(2, max_bytes=1 << 20, ttl=60))
    yield made
    made.close()


@pytest.fixture
def requests(transport):
    return RequestQueue(transport, ManagedDictStore(max_bytes=1 << 20), streaming=True)


def receive(transport, consumer=0, count=1):
    async def main():
        async with asyncio.timeout(30):
            return [await transport.areceive(consumer) for _ in range(count)]

    return asyncio.run(main())


def test_send_is_durable(transport):
    worker = SPAWN.Process(target=answer_and_die, args=(transport, STREAMING))
    worker.start()
    worker.join(30)
    assert receive(transport, 0, 2) == [("u", ((), "START", STREAMING, 7)), ("u", ({"a": 1}, "OK", STREAMING, 7))]


def test_areceive_returns_none_when_idle(transport):
    assert asyncio.run(transport.areceive(1, 0.01)) is None


@pytest.mark.parametrize("arguments", [{}, {"send_sentinel": False}])
def test_close_ends_areceive(transport, arguments):
    async def main():
        waiting = asyncio.create_task(transport.areceive(0))
        await asyncio.sleep(0.01)
        transport.close(**arguments)
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(asyncio.CancelledError):
            await transport.areceive(0)

    asyncio.run(main())
    transport.send(("u", ("too late", "OK", REGULAR, 0)), 0)


def test_what_cannot_be_sent_is_an_error_of_its_request(transport):
    for data in (threading.Lock(), "x" * (2 << 20)):
        transport.send(("u", (data, "OK", REGULAR, 0)), 0)
        [(uid, (error, status, kind, _))] = receive(transport)
        assert (uid, status, kind, error.status_code) == ("u", "ERROR", REGULAR, 500)
        assert "cannot be sent" in error.detail


class Unreadable:
    def __reduce__(self):
        return int, ("no number",)


def test_what_cannot_be_read_is_an_error_of_its_request(transport):
    transport.send(("u", (Unreadable(), "OK", REGULAR, 0)), 0)
    [(uid, (error, status, _, _))] = receive(transport)
    assert (uid, status, error.status_code) == ("u", "ERROR", 500)


def test_queue(requests):
    with pytest.raises(queue.Empty):
        requests.get(timeout=0.01)
    with pytest.raises(queue.Empty):
        requests.get(block=False)
    with pytest.raises(queue.Empty):
        requests.get(0.01)  # as LitServe's asynchronous loops do
    for _ in range(2):
        with pytest.raises(queue.Empty):
            requests.get_nowait()

    async def main():
        requests.put((0, "a", 1.5, {"x": 1}))
        requests.put_nowait((1, "b", 2.5, None))

    asyncio.run(main())
    assert requests.qsize() == 2
    assert requests.get() == (0, "a", 1.5, {"x": 1})
    assert requests.get_nowait() == (1, "b", 2.5, None)


def test_a_full_queue_refuses(requests):
    async def main():
        for number in range(10):
            requests.put((0, str(number), 0.0, b"x" * 50_000))
        with pytest.raises(HTTPException) as refused:
            requests.put((0, "large", 0.0, b"x" * 700_000))
        assert refused.value.status_code == 503

    asyncio.run(main())
    assert requests.qsize() == 10


def test_answers_come_to_the_event_loop_that_asked(transport, requests):
    """Threads all give the number of the last one."""

    def server(consumer):
        async def main():
            listening = asyncio.create_task(transport.areceive(consumer))
            await asyncio.sleep(0)
            requests.put((1, f"of {consumer}", 0.0, None))
            return await listening

        return asyncio.run(main())

    with ThreadPoolExecutor(2) as servers:
        answers = [servers.submit(server, consumer) for consumer in range(2)]
        for _ in range(2):
            consumer, uid, *_ = requests.get()
            transport.send((uid, (None, "OK", STREAMING, 0)), consumer)
        assert [answer.result(30)[0] for answer in answers] == ["of 0", "of 1"]


@pytest.mark.parametrize("said", [True, False])
def test_who_died_with_a_request_is_answered_for(transport, requests, said):
    uid = uuid.uuid4()  # as LitServe's OpenAI spec has it
    worker = SPAWN.Process(target=take_and_die, args=(requests, said))
    worker.start()

    async def main():
        listening = asyncio.create_task(transport.areceive(0))
        await asyncio.sleep(0)
        requests.put((0, uid, 0.0, None))
        async with asyncio.timeout(30):
            return await listening

    answered, (error, status, kind, _) = asyncio.run(main())
    assert (answered, status, kind, error.status_code) == (uid, "ERROR", STREAMING, 500)
    assert f"pid {worker.pid}" in error.detail
    worker.join()
