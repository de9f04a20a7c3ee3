from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import pytest

from mock_calls import ANTHROPIC, begin, chat, connect, post, send, stream

TOOL = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}, "hot": {"type": "boolean"}}},
}


def message(content: object, **options: object) -> dict[str, Any]:
    return chat(content, **{"max_tokens": 100, **options})


def test_message(llm: str) -> None:
    with closing(connect(llm)) as connection:
        response = begin(connection, message("hi"), ANTHROPIC)
        assert response.status == 200
        assert response.headers["request-id"].startswith("req_")
        answer = json.loads(response.read())
        assert post(connection, message("hi"), ANTHROPIC) == (200, answer)
        assert post(connection, message("hi", system="be brief"), ANTHROPIC)[1]["id"] != answer["id"]
    assert answer["type"] == "message"
    assert answer["role"] == "assistant"
    assert answer["content"] == [{"type": "text", "text": "echo: hi"}]
    assert answer["stop_reason"] == "end_turn"
    assert answer["usage"]["input_tokens"] > answer["usage"]["output_tokens"] > 0


def test_stream(llm: str) -> None:
    events = stream(llm, message("one two  three", stream=True), ANTHROPIC)
    assert all(name == data["type"] for name, data in events)
    names = [name for name, _ in events]
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[3:-3]) == {"content_block_delta"}
    start, end = events[0][1]["message"], events[-2][1]
    assert (start["content"], start["stop_reason"]) == ([], None)
    assert start["usage"]["input_tokens"] > 0
    assert end["delta"]["stop_reason"] == "end_turn"
    assert end["usage"]["output_tokens"] > 1
    assert "".join(data["delta"]["text"] for _, data in events[3:-3]) == "echo: one two  three"


@pytest.mark.parametrize(
    "choice", [{}, {"tool_choice": {"type": "any"}}, {"tool_choice": {"type": "tool", "name": "weather"}}]
)
def test_tool_use_and_its_result(llm: str, choice: dict[str, object]) -> None:
    body = message("Rome now", tools=[TOOL], **choice)
    answer = send(llm, body, ANTHROPIC)[1]
    assert answer["stop_reason"] == "tool_use"
    (use,) = answer["content"]
    assert (use["type"], use["name"], use["input"]) == ("tool_use", "weather", {"city": "Rome now", "hot": True})

    events = [data for _, data in stream(llm, {**body, "stream": True}, ANTHROPIC)]
    assert events[1]["content_block"]["input"] == {}
    pieces = [data["delta"]["partial_json"] for data in events if data["type"] == "content_block_delta"]
    assert json.loads("".join(pieces)) == use["input"]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"

    result = [{"type": "tool_result", "tool_use_id": use["id"], "content": [{"type": "text", "text": "sunny"}]}]
    conversation = [*body["messages"], {"role": "assistant", "content": [use]}, {"role": "user", "content": result}]
    final = send(llm, {**body, "messages": conversation}, ANTHROPIC)[1]
    expected = [{"type": "text", "text": "echo: sunny"}] if not choice else final["content"]
    assert final["content"] == expected
    assert final["stop_reason"] == ("tool_use" if choice else "end_turn")
    none = send(llm, {**body, "tool_choice": {"type": "none"}}, ANTHROPIC)[1]
    assert none["content"][0]["text"] == "echo: Rome now"


def test_structured_output(llm: str) -> None:
    config = {"format": {"type": "json_schema", "schema": TOOL["input_schema"]}}
    answer = send(llm, message("Rome", output_config=config), ANTHROPIC)[1]
    assert json.loads(answer["content"][0]["text"]) == {"city": "Rome", "hot": True}


@pytest.mark.parametrize(
    ("body", "headers", "status", "kind"),
    [
        (message("x"), {"x-api-key": ""}, 401, "authentication_error"),
        (b"{", {}, 400, "invalid_request_error"),
        (chat("x"), {}, 400, "invalid_request_error"),
        (message("x", max_tokens=0), {}, 400, "invalid_request_error"),
        (message("x", messages=[]), {}, 400, "invalid_request_error"),
        (message("x", tools=[{}]), {}, 400, "invalid_request_error"),
        (message("x", tools=[TOOL], tool_choice={"type": "tool", "name": "no"}), {}, 400, "invalid_request_error"),
        (message("x"), {"x-mock-status": "403"}, 403, "permission_error"),
        (message("x"), {"x-mock-status": "429"}, 429, "rate_limit_error"),
        (message("x"), {"x-mock-status": "500"}, 500, "api_error"),
        (message("x"), {"x-mock-status": "529"}, 529, "overloaded_error"),
    ],
)
def test_errors_have_the_apis_form(llm: str, body: object, headers: dict[str, str], status: int, kind: str) -> None:
    with closing(connect(llm)) as connection:
        response = begin(connection, body, ANTHROPIC, headers)
        answer = json.loads(response.read())
        assert (response.status, answer["type"], answer["error"]["type"]) == (status, "error", kind)
        assert answer["error"]["message"]
        assert answer["request_id"] == response.headers["request-id"]
        assert post(connection, message("still open"), ANTHROPIC)[0] == 200
