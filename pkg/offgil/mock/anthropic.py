"""Answers shaped like Anthropic's: messages."""

from __future__ import annotations

from typing import Any

from offgil.mock.answer import Answer, BadRequest, Call, Headers, digest, encode, parse, text_of, tokens, words
from offgil.mock.schema import example

__all__ = ["messages", "refuse"]

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def refuse(status: int, message: str, headers: Headers = ()) -> Answer:
    """An error in Anthropic's form."""
    kind = _KINDS.get(status, "invalid_request_error" if status < 500 else "api_error")
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_refused"}
    return Answer(status, encode(body), headers=((b"request-id", b"req_refused"), *headers))


def messages(call: Call) -> Answer:
    """``POST /v1/messages``; like the real one it wants a key, though any will do."""
    # The SDK sends it as a bearer's token since 2.x.
    if not (call.headers.get(b"x-api-key") or call.headers.get(b"authorization")):
        return refuse(401, "x-api-key header is required")
    body, request = call.body, parse(call.body)
    conversation = request.get("messages")
    if not isinstance(conversation, list) or not conversation:
        raise BadRequest("messages: at least one message is required")
    limit = request.get("max_tokens")
    if not isinstance(limit, int) or limit < 1:
        raise BadRequest("max_tokens: Field required, an integer greater than 0")

    ident = digest(body)
    question = _question(conversation)
    tool = _tool(request, conversation)
    if tool is None:
        text = _content(request, question)
        block: dict[str, Any] = {"type": "text", "text": text}
    else:
        value = example(tool.get("input_schema", {"type": "object"}), question)
        text = encode(value).decode()
        block = {"type": "tool_use", "id": "toolu_" + ident, "name": tool["name"], "input": value}
    answer = {
        "id": "msg_" + ident,
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [block],
        "stop_reason": "end_turn" if tool is None else "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": len(body) // 4, "output_tokens": tokens(len(text))},
    }
    headers = ((b"request-id", b"req_" + ident.encode()),)
    if request.get("stream"):
        return Answer(200, events=_events(answer, block, text), headers=headers)
    return Answer(200, encode(answer), headers=headers)


def _question(conversation: list[Any]) -> str:
    """The text of what the assistant was told last; results of tools are the user's messages here."""
    for message in reversed(conversation):
        if isinstance(message, dict) and message.get("role") == "user":
            return text_of(message.get("content"))
    return ""


def _tool(request: dict[str, Any], conversation: list[Any]) -> dict[str, Any] | None:
    """The tool to use, if the answer is to use one.

    "auto" means to use one, until the conversation ends with a tool's result: so a loop of calls has an end.
    """
    choice = request.get("tool_choice") or {"type": "auto"}
    kind = choice.get("type") if isinstance(choice, dict) else None
    offered = request.get("tools")
    if not offered or kind == "none":
        return None
    last = conversation[-1].get("content") if isinstance(conversation[-1], dict) else None
    parts = last if isinstance(last, list) else []
    if kind == "auto" and any(isinstance(part, dict) and part.get("type") == "tool_result" for part in parts):
        return None
    try:
        tools = {tool["name"]: tool for tool in offered}
        wanted = choice["name"] if kind == "tool" else next(iter(tools))
    except (TypeError, KeyError):
        raise BadRequest("tools: must be an array of tools with names") from None
    if not isinstance(wanted, str) or wanted not in tools:
        raise BadRequest(f"tool_choice: tool {wanted!r} not found in provided tools")
    found = tools[wanted]
    assert isinstance(found, dict)
    return found


def _content(request: dict[str, Any], question: str) -> str:
    config = request.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else None
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        return encode(example(wanted.get("schema"), question)).decode()
    return "echo: " + question


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields}))


def _events(answer: dict[str, Any], block: dict[str, Any], text: str) -> tuple[bytes, ...]:
    """The stream's events, ``message_start`` to ``message_stop``; the text or the tool's input comes bit by bit."""
    start = {**answer, "content": [], "stop_reason": None, "usage": {**answer["usage"], "output_tokens": 1}}
    if block["type"] == "text":
        empty, delta, key = {**block, "text": ""}, "text_delta", "text"
    else:
        empty, delta, key = {**block, "input": {}}, "input_json_delta", "partial_json"
    return (
        _event("message_start", message=start),
        _event("content_block_start", index=0, content_block=empty),
        _event("ping"),
        *(_event("content_block_delta", index=0, delta={"type": delta, key: piece}) for piece in words(text)),
        _event("content_block_stop", index=0),
        _event(
            "message_delta",
            delta={"stop_reason": answer["stop_reason"], "stop_sequence": None},
            usage={"output_tokens": answer["usage"]["output_tokens"]},
        ),
        _event("message_stop"),
    )
