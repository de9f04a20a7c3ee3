"""What Anthropic's SDK does beyond what test_sdks.py asks of every SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

anthropic = pytest.importorskip("anthropic", reason="the SDK anthropic is not installed")

import pydantic  # noqa: E402

from offgil.adapters.httpx2 import AsyncHTTPTransport, HTTPTransport  # noqa: E402

TOOLS: Any = [
    {
        "name": "weather",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
]


class Part(pydantic.BaseModel):
    name: str
    weight: float


class Machine(pydantic.BaseModel):
    name: str
    wheels: int
    electric: bool
    parts: list[Part]
    owner: str | None


@pytest.fixture
def client(llm: str) -> Iterator[Any]:
    http = anthropic.DefaultHttpxClient(transport=HTTPTransport())
    with anthropic.Anthropic(base_url=llm, api_key="any", http_client=http) as client:
        yield client


def ask(text: str, **options: Any) -> dict[str, Any]:
    return {"model": "mock", "max_tokens": 100, "messages": [{"role": "user", "content": text}], **options}


def check(machine: Machine) -> None:
    assert isinstance(machine, Machine)
    assert (machine.name, machine.electric, machine.owner) == ("a lorry", True, "a lorry")
    assert [part.name for part in machine.parts] == ["a lorry"]


def test_usage_and_response(client: Any) -> None:
    raw = client.messages.with_raw_response.create(**ask("x"))
    assert raw.http_response.http_version == "HTTP/1.1"
    assert raw.headers["Request-Id"] == raw.parse()._request_id
    assert raw.parse().usage.output_tokens > 0


def test_stream_helper(client: Any) -> None:
    with client.messages.stream(**ask("one two")) as stream:
        assert "".join(stream.text_stream) == "echo: one two"
        assert stream.get_final_message().usage.output_tokens > 1
        assert stream.response.is_closed


def test_tools(client: Any) -> None:
    request = ask("Rome", tools=TOOLS, tool_choice={"type": "any"})
    message = client.messages.create(**request)
    (use,) = message.content
    assert (message.stop_reason, use.name, use.input) == ("tool_use", "weather", {"city": "Rome"})
    with client.messages.stream(**request) as stream:
        (streamed,) = stream.get_final_message().content
    assert (streamed.name, streamed.input) == (use.name, use.input)
    result = [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}]
    answered = [{"role": "assistant", "content": message.content}, {"role": "user", "content": result}]
    final = client.messages.create(**ask("Rome", messages=[*request["messages"], *answered], tools=TOOLS))
    assert final.content[0].text == "echo: sunny"


def test_structured_output(client: Any) -> None:
    check(client.messages.parse(**ask("a lorry", output_format=Machine)).parsed_output)


def test_asyncio(llm: str) -> None:
    async def body() -> None:
        http = anthropic.DefaultAsyncHttpxClient(transport=AsyncHTTPTransport())
        async with anthropic.AsyncAnthropic(base_url=llm, api_key="any", http_client=http) as client:
            check((await client.messages.parse(**ask("a lorry", output_format=Machine))).parsed_output)
            called = await client.messages.create(**ask("Rome", tools=TOOLS))
            assert called.content[0].name == "weather"
            async with client.messages.stream(**ask("one two")) as stream:
                assert "".join([text async for text in stream.text_stream]) == "echo: one two"

    asyncio.run(body())
