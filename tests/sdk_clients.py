"""The LLM SDKs over offgil's transports, blocking and under asyncio, behind one face that blocks."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from importlib import import_module
from typing import Any

NAMES = ("openai", "anthropic")
KINDS = ("blocking", "asyncio")


class Sdk:
    """A client of one of the SDKs.

    ``options`` are those of the SDK's client; ``limits`` is the transport's.
    """

    def __init__(self, name: str, kind: str, url: str, *, limits: Any = None, **options: Any) -> None:
        import httpx2

        from offgil.adapters.httpx2 import AsyncHTTPTransport, HTTPTransport

        self.name = name
        self.module = import_module(name)
        self._runner = asyncio.Runner() if kind == "asyncio" else None
        if self._runner is None:
            http: Any = httpx2.Client(transport=HTTPTransport(limits=limits))
        else:
            http = httpx2.AsyncClient(transport=AsyncHTTPTransport(limits=limits))
        prefix = "" if self._runner is None else "Async"
        make = getattr(self.module, prefix + {"openai": "OpenAI", "anthropic": "Anthropic"}[name])
        base = url + ("/v1" if name == "openai" else "")
        self.client = make(base_url=base, api_key="any", http_client=http, **{"max_retries": 0, **options})

    def create(self, text: str, **options: Any) -> Any:
        """The SDK's call as it is: under asyncio, a coroutine."""
        messages = [{"role": "user", "content": text}]
        if self.name == "openai":
            return self.client.chat.completions.create(model="mock", messages=messages, **options)
        return self.client.messages.create(model="mock", messages=messages, max_tokens=100, **options)

    def wait(self, result: Any) -> Any:
        """What a call returns in the end."""
        return self._runner.run(_outcome(result)) if self._runner and inspect.isawaitable(result) else result

    def ask(self, text: str, **options: Any) -> str:
        return self.text_of(self.wait(self.create(text, **options)))

    def text_of(self, answer: Any) -> str:
        text = answer.choices[0].message.content if self.name == "openai" else answer.content[0].text
        assert isinstance(text, str)
        return text

    def stream(self, text: str, **options: Any) -> Any:
        """The SDK's stream."""
        return self.wait(self.create(text, stream=True, **options))

    def events(self, stream: Any) -> Iterator[Any]:
        """The events of a stream, one by one, as the SDK gives them."""
        if self._runner is None:
            yield from stream
            return
        iterator = aiter(stream)
        while (event := self._runner.run(_next(iterator))) is not None:
            yield event

    def piece_of(self, event: Any) -> str:
        """The text that an event of a stream adds."""
        if self.name == "openai":
            return (event.choices[0].delta.content or "") if event.choices else ""
        return event.delta.text if event.type == "content_block_delta" else ""

    def read(self, stream: Any) -> str:
        return "".join(map(self.piece_of, self.events(stream)))

    def close(self) -> None:
        self.wait(self.client.close())
        if self._runner is not None:
            self._runner.close()


async def _outcome(result: Any) -> Any:
    return await result


async def _next(iterator: Any) -> Any:
    return await anext(iterator, None)


def faults(**wanted: object) -> dict[str, Any]:
    """The option of a call that asks the mock server for faults: ``faults(first_token=5)``."""
    return {"extra_headers": {f"x-mock-{name.replace('_', '-')}": str(value) for name, value in wanted.items()}}
