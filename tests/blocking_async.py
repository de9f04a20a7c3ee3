"""AsyncClient behind the face of Client, so that one suite tests both."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import Any, ClassVar

import offgil


class BlockingAsyncClient:
    """Runs an event loop for as long as a call takes; each thread has one of its own."""

    alive: ClassVar[weakref.WeakSet[BlockingAsyncClient]] = weakref.WeakSet()

    def __init__(self, **configuration: Any) -> None:
        self.alive.add(self)
        self._loops = threading.local()
        self._runners: list[asyncio.Runner] = []
        self._client = offgil.AsyncClient(**configuration)

    @property
    def _runner(self) -> asyncio.Runner:
        if not hasattr(self._loops, "runner"):
            self._loops.runner = asyncio.Runner()
            self._runners.append(self._loops.runner)
        return self._loops.runner

    def request(self, *arguments: Any, **options: Any) -> offgil.Response:
        return self._runner.run(self._client.request(*arguments, **options))

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not asyncio.iscoroutinefunction(attribute):
            return attribute
        return lambda *arguments, **options: self._runner.run(attribute(*arguments, **options))

    def stream(self, *arguments: Any, **options: Any) -> BlockingStream:
        return BlockingStream(self._runner, self._client.stream(*arguments, **options))

    def map(self, *arguments: Any, **options: Any) -> Any:
        return BlockingIterator(self._runner, self._client.map(*arguments, **options))

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self.stop()

    def stop(self) -> None:
        """Close the event loops, but for those of threads that are within a call."""
        for runner in self._runners.copy():
            if not runner.get_loop().is_running():
                self._runners.remove(runner)
                runner.close()
        self._loops = threading.local()

    def __enter__(self) -> BlockingAsyncClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.stop()


class BlockingStream:
    def __init__(self, runner: asyncio.Runner, context: Any) -> None:
        self._runner = runner
        self._context = context
        self._response = runner.run(context.__aenter__())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    def raise_for_status(self) -> BlockingStream:
        try:
            self._runner.run(self._response.raise_for_status())
        except offgil.HTTPStatusError as error:
            error.response = self
            raise
        return self

    def __repr__(self) -> str:
        return repr(self._response).replace("Async", "")

    def read(self) -> bytes:
        return self._runner.run(self._response.aread())

    def iter_bytes(self, *arguments: Any) -> BlockingIterator:
        return BlockingIterator(self._runner, self._response.aiter_bytes(*arguments))

    def iter_lines(self) -> BlockingIterator:
        return BlockingIterator(self._runner, self._response.aiter_lines())

    def iter_sse(self) -> BlockingIterator:
        return BlockingIterator(self._runner, self._response.aiter_sse())

    def close(self) -> None:
        self._runner.run(self._response.aclose())

    def __enter__(self) -> BlockingStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._context.__aexit__(None, None, None))


class BlockingIterator:
    def __init__(self, runner: asyncio.Runner, items: Any) -> None:
        self._runner = runner
        self._items = items

    def __iter__(self) -> BlockingIterator:
        return self

    def __next__(self) -> Any:
        async def step() -> Any:
            return await anext(self._items)

        try:
            return self._runner.run(step())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        self._runner.run(self._items.aclose())
