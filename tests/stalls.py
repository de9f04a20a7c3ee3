"""A server some of whose requests are never answered, for tests of what ends them."""

import asyncio
import threading

import pytest


class Stalls:
    """Answers every path but /stall, and tells when such a request has come and when its connection has gone."""

    def __init__(self):
        self.stalled = threading.Semaphore(0)
        self.gone = threading.Semaphore(0)

    def __call__(self, peer, _):
        while request := peer.read_request():
            if b"/stall" in request:
                self.stalled.release()
                peer.sock.settimeout(30)
                assert peer.sock.recv(1) == b""
                self.gone.release()
                return
            peer.answer()


@pytest.fixture
def stalls(serve):
    script = Stalls()
    script.url = serve(script).url
    return script


async def until_stalled(script):
    assert await asyncio.to_thread(script.stalled.acquire, timeout=30)


async def until_gone(script):
    assert await asyncio.to_thread(script.gone.acquire, timeout=30)
