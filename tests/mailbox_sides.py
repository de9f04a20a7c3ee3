"""What the other processes of tests/store/test_mailboxes.py and tests/adapters/test_litserve.py do."""

import asyncio
import os
import signal

from offgil.store.mailboxes import Mailbox


class Inbox(Mailbox):
    """Delivers what comes as it is, and ``("end", None)`` after it."""

    def accept(self, name, value):
        self.deliver((name, value))

    def end(self):
        self.deliver(("end", None))


def send_and_die(mailboxes, number, count):
    for serial in range(count):
        mailboxes.send(number, str(serial), os.getpid())
    os._exit(0)


def echo(mailboxes):
    """Send to mailbox 0 what comes to 1, until the mailboxes are closed."""

    async def main():
        inbox = Inbox(mailboxes, 1)
        while (message := await inbox.get())[0] != "end":
            mailboxes.send(0, *message)

    asyncio.run(main())


def answer_and_die(transport, kind):
    """What a worker does, with LitServe's own START first."""
    transport.send(("u", ((), "START", kind, 7)), 0)
    transport.send(("u", ({"a": 1}, "OK", kind, 7)), 0)
    os._exit(0)


def take_and_die(requests, said):
    """Take a request; be killed after saying so, or before."""
    while requests.qsize() == 0:
        pass
    if said:
        requests.get()
    else:
        assert requests.qsize() == 1
        requests._transport.claim(0, "")
        requests.store.take()
    os.kill(os.getpid(), signal.SIGKILL)
