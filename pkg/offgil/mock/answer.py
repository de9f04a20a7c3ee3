"""What the APIs of the mock server have in common: an answer, and how a request's body becomes one.

Every answer is a function of its request alone, so a test can tell that an answer belongs to its request: the
text echoes the request's, and ids are a digest of its body.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

__all__ = ["CREATED", "Answer", "BadRequest", "Call", "Handler", "Headers", "Refuse", "digest", "encode", "parse"]
__all__ += ["text_of", "tokens", "words"]

Headers = tuple[tuple[bytes, bytes], ...]

#: The real APIs give the time of the answer; a constant keeps answers reproducible.
CREATED = 1_700_000_000

_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Call:
    """One request: its header, by names in lower case, and its body."""

    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: ``body``, or ``events`` when it is a stream of server-sent events."""

    status: int
    body: bytes = b""
    events: tuple[bytes, ...] = ()
    headers: Headers = ()


class BadRequest(Exception):
    """The request cannot be answered; the text says why, to the client."""


Handler = Callable[[Call], Answer]
#: Makes an API's error answer: ``refuse(status, message, headers)``.
Refuse = Callable[[int, str, Headers], Answer]


def encode(value: Any) -> bytes:
    """``value`` as compact JSON."""
    return _encode(value).encode()


def parse(body: bytes) -> dict[str, Any]:
    """The request's JSON object, which must name a model."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("We could not parse the JSON body of your request.") from None
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        raise BadRequest("you must provide a model parameter")
    return request


def digest(body: bytes) -> str:
    """What ids are made of: 24 hexadecimal digits."""
    return blake2b(body, digest_size=12).hexdigest()


def tokens(characters: int) -> int:
    """About four characters are one token; good enough for a server that has no tokenizer."""
    return characters // 4 + 1


def words(text: str) -> list[str]:
    """The pieces of a stream: each word keeps the space before it, so that together they are the text itself."""
    return [word if i == 0 else " " + word for i, word in enumerate(text.split(" "))]


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or a list of typed parts, of which tool results nest."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(text_of(part.get("text", part.get("content"))) for part in content if isinstance(part, dict))
