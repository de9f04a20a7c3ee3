"""The suites of httpx and httpx2 run over both, blocking, under asyncio and under trio."""

from __future__ import annotations

import asyncio
import importlib

import pytest

WAYS = ["sync", "asyncio", "trio"]


class Blocking:
    """A client of one of the packages over our blocking transport."""

    def __init__(self, package, transport, **options):
        self._client = package.Client(transport=transport, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._client.close()

    def request(self, method, url, **options):
        return self._client.request(method, url, **options)

    def get(self, url, **options):
        return self.request("GET", url, **options)

    def pieces(self, url, count=None, **options):
        """Stream an answer and return its first ``count`` pieces, or all."""
        with self._client.stream("GET", url, **options) as response:
            found = []
            for piece in response.iter_raw():
                found.append(piece)
                if len(found) == count:
                    break
            return found

    def recorder(self):
        events = []
        return events, lambda name, info: events.append((name, info))

    def body(self, pieces):
        return iter(pieces)


class Asynchronous:
    """The same face over our asynchronous transport: one loop of asyncio for all, one run of trio for each call."""

    def __init__(self, package, transport, run, close, **options):
        self._client = package.AsyncClient(transport=transport, **options)
        self._run = run
        self._close = close

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._run(self._client.aclose)
        self._close()

    def request(self, method, url, **options):
        async def send():
            return await self._client.request(method, url, **options)

        return self._run(send)

    def get(self, url, **options):
        return self.request("GET", url, **options)

    def pieces(self, url, count=None, **options):
        async def read():
            found = []
            async with self._client.stream("GET", url, **options) as response:
                async for piece in response.aiter_raw():
                    found.append(piece)
                    if len(found) == count:
                        break
            return found

        return self._run(read)

    def recorder(self):
        events = []

        async def record(name, info):
            events.append((name, info))

        return events, record

    def body(self, pieces):
        async def generate():
            for piece in pieces:
                yield piece

        return generate()


class Package:
    """One of the packages, and how to use it in one of the ways."""

    def __init__(self, name, way):
        self.name, self.way = name, way
        self.module = pytest.importorskip(name, reason=f"{name} is not installed")
        if way == "trio":
            pytest.importorskip("trio", reason="trio is not installed")
        self.transports = importlib.import_module(f"offgil.adapters.{name}")

    def transport(self, **options):
        kind = "HTTPTransport" if self.way == "sync" else "AsyncHTTPTransport"
        return getattr(self.transports, kind)(**options)

    def client(self, *, timeout=30, **options):
        transport = self.transport(**options)
        if self.way == "sync":
            return Blocking(self.module, transport, timeout=timeout)
        if self.way == "asyncio":
            runner = asyncio.Runner()
            run = lambda call: runner.run(call())  # noqa: E731
            return Asynchronous(self.module, transport, run, runner.close, timeout=timeout)
        import trio

        return Asynchronous(self.module, transport, trio.run, lambda: None, timeout=timeout)


@pytest.fixture(params=["httpx", "httpx2"])
def package_name(request):
    return request.param


@pytest.fixture(params=WAYS)
def package(package_name, request):
    return Package(package_name, request.param)


@pytest.fixture
def blocking(package_name):
    return Package(package_name, "sync")


@pytest.fixture
def asynchronous(package_name):
    return Package(package_name, "asyncio")
