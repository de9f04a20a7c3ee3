from __future__ import annotations

import base64
import json
import math
from array import array
from typing import Any

import pytest

from mock_calls import CHAT, EMBEDDINGS, MESSAGES, chat, send, stream

PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}, "days": {"type": "integer", "minimum": 2}},
    "required": ["city", "unit", "days"],
}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}},
    {"type": "function", "function": {"name": "now"}},
]
NOW = {"type": "function", "function": {"name": "now"}}


@pytest.mark.parametrize(
    ("choice", "name", "arguments"),
    [
        ({}, "weather", {"city": "Rome now", "unit": "C", "days": 2}),
        ({"tool_choice": "auto"}, "weather", {"city": "Rome now", "unit": "C", "days": 2}),
        ({"tool_choice": "required"}, "weather", {"city": "Rome now", "unit": "C", "days": 2}),
        ({"tool_choice": NOW}, "now", {}),
    ],
)
def test_tool_call_fits_its_schema_and_streams_the_same(llm: str, choice: Any, name: str, arguments: Any) -> None:
    body = chat("Rome now", tools=TOOLS, **choice)
    _, answer = send(llm, body)
    (choice,) = answer["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["type"] == "function"
    assert call["function"]["name"] == name
    assert json.loads(call["function"]["arguments"]) == arguments

    *chunks, _ = stream(llm, {**body, "stream": True})
    deltas = [chunk["choices"][0]["delta"] for _, chunk in chunks]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["function"]["name"] == name
    assert {call["index"] for call in calls} == {0}
    assert json.loads("".join(call["function"]["arguments"] for call in calls)) == arguments
    assert [chunk["choices"][0]["finish_reason"] for _, chunk in chunks][-2:] == [None, "tool_calls"]


def test_text_when_no_tool_is_wanted_or_one_has_answered(llm: str) -> None:
    assert send(llm, chat("x", tools=TOOLS, tool_choice="none"))[1]["choices"][0]["message"]["content"] == "echo: x"
    body = chat("x", tools=TOOLS)
    called = send(llm, body)[1]["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": "sunny"}
    again = {**body, "messages": [*MESSAGES, called, result]}
    assert send(llm, again)[1]["choices"][0]["message"]["content"] == "echo: sunny"
    assert send(llm, {**again, "tool_choice": "required"})[1]["choices"][0]["finish_reason"] == "tool_calls"


def test_structured_output(llm: str) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "weather", "strict": True, "schema": PARAMETERS}}
    body = chat("Rome", response_format=wanted)
    content = send(llm, body)[1]["choices"][0]["message"]["content"]
    assert json.loads(content) == {"city": "Rome", "unit": "C", "days": 2}
    *chunks, _ = stream(llm, {**body, "stream": True})
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for _, chunk in chunks) == content
    loose = send(llm, chat("Rome", response_format={"type": "json_object"}))[1]
    assert json.loads(loose["choices"][0]["message"]["content"]) == {"echo": "Rome"}


@pytest.mark.parametrize(
    "options",
    [
        {"tools": {"name": "x"}},
        {"tools": [{"type": "function"}]},
        {"tools": [{"function": {"name": ["x"]}}]},
        {"tools": TOOLS, "tool_choice": {"function": {"name": "nowhere"}}},
        {"tools": TOOLS, "tool_choice": "any"},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "word"}}}},
    ],
)
def test_what_makes_no_sense_is_refused(llm: str, options: dict[str, object]) -> None:
    status, answer = send(llm, chat("x", **options))
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"


def embed(url: str, text: object, **options: object) -> tuple[int, Any]:
    return send(url, {"model": "m", "input": text, **options}, EMBEDDINGS)


def test_embeddings_are_unit_vectors_that_depend_on_the_text_alone(llm: str) -> None:
    status, answer = embed(llm, ["one", "two", "one"], dimensions=64)
    assert status == 200
    assert answer["object"] == "list"
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0
    assert [entry["index"] for entry in answer["data"]] == [0, 1, 2]
    one, two, again = (entry["embedding"] for entry in answer["data"])
    assert one == again != two
    for vector in (one, two):
        assert len(vector) == 64
        assert math.isclose(sum(x * x for x in vector), 1, rel_tol=1e-5)
    assert embed(llm, "one", dimensions=64)[1]["data"][0]["embedding"] == one
    assert len(embed(llm, [1, 2, 3])[1]["data"]) == 1
    assert len(embed(llm, [[1, 2], [3]])[1]["data"]) == 2
    assert len(embed(llm, "one")[1]["data"][0]["embedding"]) == 1536


def test_embeddings_in_base64_are_the_same_numbers(llm: str) -> None:
    floats = embed(llm, "one", dimensions=8)[1]["data"][0]["embedding"]
    packed = embed(llm, "one", dimensions=8, encoding_format="base64")[1]["data"][0]["embedding"]
    assert array("f", base64.b64decode(packed)).tolist() == floats


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (None, {}),
        ("", {}),
        ([], {}),
        (["x", 1], {}),
        ("x", {"dimensions": 0}),
        ("x", {"dimensions": 1 << 40}),
        ("x", {"encoding_format": "hex"}),
        ("x", {"encoding_format": []}),
    ],
)
def test_embeddings_of_nothing_are_refused(llm: str, text: object, options: dict[str, object]) -> None:
    assert embed(llm, text, **options)[0] == 400
    assert send(llm, chat("still there"), CHAT)[0] == 200
