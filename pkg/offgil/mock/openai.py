"""What the mock server answers: the routes, and bodies shaped like OpenAI's.

Every answer is a function of its request alone, so a test can tell that an answer belongs to its request: the
text echoes the last user message, and the id is a digest of the request's body.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

__all__ = ["ROUTES", "Answer", "error", "find"]

#: The real API gives the time of the answer; a constant keeps answers reproducible.
CREATED = 1_700_000_000

_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: ``body``, or ``events`` when it is a stream of server-sent events."""

    status: int
    body: bytes = b""
    events: tuple[bytes, ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()


def error(
    status: int,
    message: str,
    kind: str,
    *,
    code: str | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> Answer:
    """An error in OpenAI's form."""
    body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Answer(status, _encode(body).encode(), headers=headers)


def _bad_request(message: str) -> Answer:
    return error(400, message, "invalid_request_error")


def _text(content: Any) -> str:
    """The text of a message's content, which is a string or a list of typed parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str))
    return ""


def _last_user_text(messages: list[Any]) -> str:
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            return _text(message.get("content"))
    return ""


def _events(head: dict[str, Any], content: str, usage: dict[str, int] | None) -> tuple[bytes, ...]:
    """The stream's events: role, text word by word, finish reason, usage if asked for, ``[DONE]``."""

    def chunk(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, Any]:
        return {
            **head,
            "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        }

    chunks = [chunk({"role": "assistant", "content": ""})]
    # Each word keeps the space before it, so that the concatenation is the text itself.
    chunks += [chunk({"content": word if i == 0 else " " + word}) for i, word in enumerate(content.split(" "))]
    chunks.append(chunk({}, "stop"))
    if usage is not None:
        chunks.append({**head, "choices": [], "usage": usage})
    return (*(f"data: {_encode(c)}\n\n".encode() for c in chunks), b"data: [DONE]\n\n")


def chat_completions(body: bytes) -> Answer:
    """``POST /v1/chat/completions``."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        return _bad_request("We could not parse the JSON body of your request.")
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        return _bad_request("you must provide a model parameter")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        return _bad_request("'messages' must be a non-empty array")

    content = "echo: " + _last_user_text(messages)
    # About four characters are one token; good enough for a server that has no tokenizer.
    prompt, completion = len(body) // 4, len(content) // 4 + 1
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    digest = blake2b(body, digest_size=12).hexdigest()
    headers = ((b"x-request-id", b"req_" + digest.encode()),)
    head = {"id": "chatcmpl-" + digest, "created": CREATED, "model": request["model"]}
    if request.get("stream"):
        options = request.get("stream_options")
        with_usage = isinstance(options, dict) and options.get("include_usage")
        head["object"] = "chat.completion.chunk"
        return Answer(200, events=_events(head, content, usage if with_usage else None), headers=headers)
    message = {"role": "assistant", "content": content, "refusal": None}
    answer = {
        **head,
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": usage,
    }
    return Answer(200, _encode(answer).encode(), headers=headers)


def models(_: bytes) -> Answer:
    """``GET /v1/models``."""
    model = {"id": "mock", "object": "model", "created": CREATED, "owned_by": "offgil"}
    return Answer(200, _encode({"object": "list", "data": [model]}).encode())


def health(_: bytes) -> Answer:
    """``GET /health``."""
    return Answer(200, b'{"status":"ok"}')


ROUTES: dict[str, dict[str, Callable[[bytes], Answer]]] = {
    "/v1/chat/completions": {"POST": chat_completions},
    "/v1/models": {"GET": models},
    "/health": {"GET": health},
}


def find(method: str, target: str) -> Callable[[bytes], Answer] | Answer:
    """The handler of a request, or the error answer if there is none."""
    path = target.partition("?")[0]
    methods = ROUTES.get(path)
    if methods is None:
        return error(404, f"Invalid URL ({method} {path})", "invalid_request_error")
    handler = methods.get(method)
    if handler is None:
        allow = ((b"allow", ", ".join(methods).encode()),)
        return error(405, f"Not allowed to {method} on {path}", "invalid_request_error", headers=allow)
    return handler
