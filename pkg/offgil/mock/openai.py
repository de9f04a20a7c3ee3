"""Answers shaped like OpenAI's: chat completions, embeddings, models."""

from __future__ import annotations

import math
from array import array
from base64 import b64encode
from hashlib import shake_128
from typing import Any

from offgil.mock.answer import (
    CREATED,
    Answer,
    BadRequest,
    Call,
    Headers,
    digest,
    encode,
    parse,
    text_of,
    tokens,
    words,
)
from offgil.mock.schema import example

__all__ = ["chat_completions", "embeddings", "models", "refuse"]

_DIMENSIONS, _MOST_DIMENSIONS = 1536, 3072
_KINDS = {401: ("invalid_request_error", "invalid_api_key"), 429: ("requests", "rate_limit_exceeded")}


def refuse(status: int, message: str, headers: Headers = ()) -> Answer:
    """An error in OpenAI's form."""
    kind, code = _KINDS.get(status, ("invalid_request_error" if status < 500 else "server_error", None))
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Answer(status, encode(body), headers=headers)


def chat_completions(call: Call) -> Answer:
    """``POST /v1/chat/completions``."""
    body, request = call.body, parse(call.body)
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a non-empty array")
    ident = digest(body)
    question = _question(messages)
    tool = _tool(request, messages)
    arguments = content = ""
    if tool is None:
        content = _content(request, question)
    else:
        arguments = encode(example(tool.get("parameters", {"type": "object"}), question)).decode()

    prompt, completion = len(body) // 4, tokens(len(content) + len(arguments))
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    head = {"id": "chatcmpl-" + ident, "created": CREATED, "model": request["model"]}
    headers = ((b"x-request-id", b"req_" + ident.encode()),)
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if tool is not None:
        function = {"name": tool["name"], "arguments": arguments}
        message["content"] = None
        message["tool_calls"] = [{"id": "call_" + ident, "type": "function", "function": function}]
    finish = "stop" if tool is None else "tool_calls"
    if request.get("stream"):
        options = request.get("stream_options")
        with_usage = isinstance(options, dict) and options.get("include_usage")
        head["object"] = "chat.completion.chunk"
        return Answer(200, events=_events(head, message, finish, usage if with_usage else None), headers=headers)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    answer = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}
    return Answer(200, encode(answer), headers=headers)


def _question(messages: list[Any]) -> str:
    """The text of what the assistant was told last, by the user or by a tool."""
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") in {"user", "tool"}:
            return text_of(message.get("content"))
    return ""


def _tool(request: dict[str, Any], messages: list[Any]) -> dict[str, Any] | None:
    """The function to call, if the answer is to be a call.

    "auto" means a call, until the conversation ends with a tool's result: so a loop of calls has an end.
    """
    choice = request.get("tool_choice", "auto")
    offered = request.get("tools")
    if not offered or choice == "none":
        return None
    if choice == "auto" and isinstance(messages[-1], dict) and messages[-1].get("role") == "tool":
        return None
    if not isinstance(choice, dict) and choice not in ("auto", "required"):
        raise BadRequest(f"Invalid value for 'tool_choice': {choice!r}")
    try:
        functions = {tool["function"]["name"]: tool["function"] for tool in offered}
        wanted = choice["function"]["name"] if isinstance(choice, dict) else next(iter(functions))
    except (TypeError, KeyError):
        raise BadRequest("'tools' must be an array of functions with names") from None
    if not isinstance(wanted, str) or wanted not in functions:
        raise BadRequest(f"Tool choice {wanted!r} not found in 'tools' parameter.")
    found = functions[wanted]
    assert isinstance(found, dict)
    return found


def _content(request: dict[str, Any], question: str) -> str:
    wanted = request.get("response_format")
    if not isinstance(wanted, dict):
        wanted = {"type": "text"}
    kind = wanted.get("type")
    if kind == "json_schema":
        described = wanted.get("json_schema")
        if not isinstance(described, dict) or "schema" not in described:
            raise BadRequest("Missing required parameter: 'response_format.json_schema.schema'.")
        return encode(example(described["schema"], question)).decode()
    if kind == "json_object":
        return encode({"echo": question}).decode()
    return "echo: " + question


def _events(
    head: dict[str, Any], message: dict[str, Any], finish: str, usage: dict[str, int] | None
) -> tuple[bytes, ...]:
    """The stream's events: role, the text or the arguments bit by bit, the end, usage if asked for, ``[DONE]``."""

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        return {
            **head,
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        }

    if calls := message.get("tool_calls"):
        function = calls[0]["function"]
        first = {"index": 0, **calls[0], "function": {**function, "arguments": ""}}
        chunks = [chunk({"role": "assistant", "content": None, "tool_calls": [first]})]
        for piece in words(function["arguments"]):
            chunks.append(chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}))
    else:
        chunks = [chunk({"role": "assistant", "content": ""})]
        chunks += [chunk({"content": piece}) for piece in words(message["content"])]
    chunks.append(chunk({}, finish))
    if usage is not None:
        chunks.append({**head, "choices": [], "usage": usage})
    return (*(b"data: %b\n\n" % encode(c) for c in chunks), b"data: [DONE]\n\n")


def embeddings(call: Call) -> Answer:
    """``POST /v1/embeddings``: a vector of length one for each input, the same for equal inputs."""
    request = parse(call.body)
    inputs = request.get("input")
    dimensions = request.get("dimensions", _DIMENSIONS)
    encoding = request.get("encoding_format", "float")
    if isinstance(inputs, str) or (isinstance(inputs, list) and inputs and isinstance(inputs[0], int)):
        inputs = [inputs]
    if not isinstance(inputs, list) or not inputs or not all(isinstance(text, str | list) and text for text in inputs):
        raise BadRequest("'input' must be a string, an array of strings or an array of tokens, and not empty")
    if not isinstance(dimensions, int) or not 0 < dimensions <= _MOST_DIMENSIONS:
        raise BadRequest(f"'dimensions' must be between 1 and {_MOST_DIMENSIONS}")
    if encoding not in ("float", "base64"):
        raise BadRequest("'encoding_format' must be 'float' or 'base64'")
    data = []
    for index, text in enumerate(inputs):
        vector = _vector(encode(text), dimensions)
        embedding = vector.tolist() if encoding == "float" else b64encode(vector.tobytes()).decode()
        data.append({"object": "embedding", "index": index, "embedding": embedding})
    prompt = len(call.body) // 4
    usage = {"prompt_tokens": prompt, "total_tokens": prompt}
    return Answer(200, encode({"object": "list", "data": data, "model": request["model"], "usage": usage}))


def _vector(text: bytes, dimensions: int) -> array[float]:
    """Single-precision numbers drawn from a digest of ``text``, in the byte order of the machine (little-endian)."""
    draws = array("h", shake_128(text).digest(2 * dimensions))
    length = math.sqrt(sum(draw * draw for draw in draws)) or 1.0
    return array("f", (draw / length for draw in draws))


def models(_: Call) -> Answer:
    """``GET /v1/models``."""
    model = {"id": "mock", "object": "model", "created": CREATED, "owned_by": "offgil"}
    return Answer(200, encode({"object": "list", "data": [model]}))
