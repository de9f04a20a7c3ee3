"""Calls of the mock server over the standard library's client, which knows nothing of any API."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

MESSAGES = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "no"}]
CHAT, EMBEDDINGS, ANTHROPIC = "/v1/chat/completions", "/v1/embeddings", "/v1/messages"


def connect(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)


def begin(
    connection: http.client.HTTPConnection, body: object, path: str = CHAT, headers: Mapping[str, str] | None = None
) -> http.client.HTTPResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    key = {"x-api-key": "any"} if path == ANTHROPIC else {}
    connection.request("POST", path, data, {**key, **(headers or {})})
    return connection.getresponse()


def post(
    connection: http.client.HTTPConnection, body: object, path: str = CHAT, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    response = begin(connection, body, path, headers)
    return response.status, json.loads(response.read())


def send(url: str, body: object, path: str = CHAT, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
    with closing(connect(url)) as connection:
        return post(connection, body, path, headers)


def stream(url: str, body: object, path: str = CHAT) -> list[tuple[str, Any]]:
    """The events of a streamed answer: their name and data."""
    with closing(connect(url)) as connection:
        response = begin(connection, body, path)
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        text = response.read().decode()
        # The connection is as good as new.
        assert post(connection, chat("still open"))[0] == 200
    assert text.endswith("\n\n")
    events = []
    for event in text.removesuffix("\n\n").split("\n\n"):
        *name, data = event.split("\n")
        assert data.startswith("data: ")
        data = data.removeprefix("data: ")
        events.append(("".join(name).removeprefix("event: "), data if data == "[DONE]" else json.loads(data)))
    return events


def chat(content: object, **options: object) -> dict[str, object]:
    return {"model": "m", "messages": [*MESSAGES, {"role": "user", "content": content}], **options}
