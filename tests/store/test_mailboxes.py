"""Messages from processes to event loops: order, durability, wake-ups, and the end."""

import asyncio
import multiprocessing
import sys
import threading
import time

import pytest

from offgil import Closed, StoreFull

if sys.platform != "linux":
    pytest.skip("mailboxes need Linux's eventfd and the managed-dict store", allow_module_level=True)

from mailbox_sides import Inbox, echo, send_and_die
from offgil.store.mailboxes import Mailboxes

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def mailboxes():
    made = Mailboxes(2, max_bytes=1 << 20, ttl=60)
    yield made
    made.close()


def collect(mailboxes, number, count):
    async def main():
        inbox = Inbox(mailboxes, number)
        async with asyncio.timeout(30):
            return [await inbox.get() for _ in range(count)]

    return asyncio.run(main())


def test_what_was_sent_outlives_its_sender(mailboxes):
    senders = [SPAWN.Process(target=send_and_die, args=(mailboxes, 0, 1000)) for _ in range(2)]
    for sender in senders:
        sender.start()
    came = collect(mailboxes, 0, 2000)
    for sender in senders:
        sender.join(30)
        assert [int(name) for name, pid in came if pid == sender.pid] == list(range(1000))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_both_ways(mailboxes, method):
    child = multiprocessing.get_context(method).Process(target=echo, args=(mailboxes,))
    child.start()
    for number in range(3):
        mailboxes.send(1, f"n{number}", [number])
    assert collect(mailboxes, 0, 3) == [("n0", [0]), ("n1", [1]), ("n2", [2])]
    mailboxes.close()
    child.join(30)
    assert child.exitcode == 0


def test_mailboxes_are_apart(mailboxes):
    mailboxes.send(1, "a", 1)
    mailboxes.send(0, "b", 2)
    assert collect(mailboxes, 0, 1) == [("b", 2)]
    assert collect(mailboxes, 1, 1) == [("a", 1)]


def test_a_flood_leaves_the_loop_its_turns(mailboxes):
    count = 20_000
    flood = threading.Thread(target=lambda: [mailboxes.send(0, "", None) for _ in range(count)])

    async def main():
        inbox, turns = Inbox(mailboxes, 0), 0

        async def tick():
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        ticking = asyncio.create_task(tick())
        for _ in range(count):
            await inbox.get()
        ticking.cancel()
        return turns

    flood.start()
    # At most 256 messages a turn.
    assert asyncio.run(main()) >= count // 256
    flood.join()


def test_a_sleeping_loop_is_woken(mailboxes):
    async def main():
        inbox = Inbox(mailboxes, 0)
        assert await inbox.get(0.01) is None
        sender = threading.Timer(0.1, mailboxes.send, (0, "late", 1))
        sender.start()
        # A loop that was not woken would sleep for the whole time.
        before = time.monotonic()
        assert await inbox.get(30) == ("late", 1)
        assert time.monotonic() - before < 10
        sender.join()

    asyncio.run(main())


def test_close_wakes_who_waits_and_refuses_who_sends(mailboxes):
    async def main():
        inbox = Inbox(mailboxes, 0)
        closer = threading.Timer(0.05, mailboxes.close)
        closer.start()
        assert await inbox.get() == ("end", None)
        with pytest.raises(Closed):
            await inbox.get()
        closer.join()

    asyncio.run(main())
    with pytest.raises(Closed):
        mailboxes.send(0, "a", 1)


def test_who_is_gone_holds_up_the_others_for_no_longer_than_the_ttl():
    mailboxes = Mailboxes(2, max_bytes=1 << 20, ttl=1)
    mailboxes.send(1, "a", b"x" * 600_000)
    with pytest.raises(StoreFull):
        mailboxes.store.put("b", b"x" * 600_000, timeout=0)
    mailboxes.send(0, "c", b"y" * 600_000)
    assert mailboxes.take(0, 10) == [("c", b"y" * 600_000)]
    assert mailboxes.take(1, 10) == []
    mailboxes.close()


def test_room(mailboxes):
    with pytest.raises(StoreFull):
        mailboxes.send(0, "a", b"x" * (2 << 20))
    sender = threading.Thread(target=lambda: [mailboxes.send(0, "b", b"x" * 100_000) for _ in range(100)])
    sender.start()
    # Ten times what there is room for: the sender waits.
    assert len(collect(mailboxes, 0, 100)) == 100
    sender.join()
