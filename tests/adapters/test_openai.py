"""What OpenAI's SDK does beyond what test_sdks.py asks of every SDK."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from enum import Enum
from typing import Any, Literal

import pytest

openai = pytest.importorskip("openai", reason="the SDK openai is not installed")

import pydantic  # noqa: E402

from offgil.adapters.httpx2 import AsyncHTTPTransport, HTTPTransport  # noqa: E402

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Part(pydantic.BaseModel):
    name: str
    weight: float
    spare: Part | None


class Machine(pydantic.BaseModel):
    name: str
    wheels: int
    electric: bool
    colour: Colour
    kind: Literal["car", "lorry"]
    parts: list[Part]


@pytest.fixture
def client(llm: str) -> Iterator[Any]:
    http = openai.DefaultHttpxClient(transport=HTTPTransport())
    with openai.OpenAI(base_url=f"{llm}/v1", api_key="any", http_client=http) as client:
        yield client


def ask(text: str, **options: Any) -> dict[str, Any]:
    return {"model": "mock", "messages": [{"role": "user", "content": text}], **options}


def check(machine: Machine) -> None:
    assert isinstance(machine, Machine)
    assert (machine.name, machine.electric, machine.colour, machine.kind) == ("a lorry", True, Colour.RED, "car")
    assert [part.name for part in machine.parts] == ["a lorry"]


def test_usage_and_response(client: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(**ask("x"))
    assert raw.http_response.http_version == "HTTP/1.1"
    assert raw.http_response.is_closed
    assert raw.elapsed.total_seconds() > 0
    assert raw.headers["X-Request-Id"] == raw.parse()._request_id
    *_, last = client.chat.completions.create(**ask("x", stream=True, stream_options={"include_usage": True}))
    assert last.usage.completion_tokens == raw.parse().usage.completion_tokens > 0


def test_tools(client: Any) -> None:
    request = ask("Rome", tools=TOOLS, tool_choice="required")
    message = client.chat.completions.create(**request).choices[0].message
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Rome"})
    with client.chat.completions.stream(**request) as stream:
        (streamed,) = stream.get_final_completion().choices[0].message.tool_calls
    assert streamed.function.arguments == call.function.arguments
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    final = client.chat.completions.create(**ask("Rome", messages=[*request["messages"], message, result], tools=TOOLS))
    assert final.choices[0].message.content == "echo: sunny"


def test_structured_output(client: Any) -> None:
    request = ask("a lorry", response_format=Machine)
    check(client.chat.completions.parse(**request).choices[0].message.parsed)
    with client.chat.completions.stream(**request) as stream:
        check(stream.get_final_completion().choices[0].message.parsed)


def test_embeddings(client: Any) -> None:
    packed = client.embeddings.create(model="mock", input=["one", "two"])  # base64, behind the caller's back
    floats = client.embeddings.create(model="mock", input=["one", "two"], encoding_format="float")
    assert [entry.embedding for entry in packed.data] == [entry.embedding for entry in floats.data]
    assert len(packed.data[0].embedding) == 1536


def test_lists_and_other_routes(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["mock"]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("mock")


def test_asyncio(llm: str) -> None:
    async def body() -> None:
        http = openai.DefaultAsyncHttpxClient(transport=AsyncHTTPTransport())
        async with openai.AsyncOpenAI(base_url=f"{llm}/v1", api_key="any", http_client=http) as client:
            parsed = await client.chat.completions.parse(**ask("a lorry", response_format=Machine))
            check(parsed.choices[0].message.parsed)
            called = await client.chat.completions.create(**ask("Rome", tools=TOOLS))
            assert called.choices[0].message.tool_calls[0].function.name == "weather"
            async with client.chat.completions.stream(**ask("one two")) as stream:
                pieces = [event.delta async for event in stream if event.type == "content.delta"]
            assert "".join(pieces) == "echo: one two"
            vectors = await client.embeddings.create(model="mock", input="one", dimensions=8)
            assert len(vectors.data[0].embedding) == 8

    asyncio.run(body())


def test_a_client_of_the_older_httpx_is_taken_as_well(llm: str) -> None:
    httpx = pytest.importorskip("httpx", reason="httpx is not installed")
    from offgil.adapters.httpx import HTTPTransport

    http = httpx.Client(transport=HTTPTransport())
    with openai.OpenAI(base_url=f"{llm}/v1", api_key="any", http_client=http, max_retries=0) as client:
        assert client.chat.completions.create(**ask("x")).choices[0].message.content == "echo: x"
        stream = client.chat.completions.create(**ask("one two", stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "echo: one two"
        with pytest.raises(openai.APITimeoutError):
            client.chat.completions.create(**ask("x"), extra_headers={"x-mock-delay": "30"}, timeout=0.2)
