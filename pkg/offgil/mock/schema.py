"""A value that is valid for a JSON schema, as structured output and tool calls need one.

Made for the schemas that SDKs derive from pydantic models and dataclasses: objects, arrays, strings, numbers,
booleans, enums, constants, unions and references within the schema, with the bounds of lengths and numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from offgil.mock.answer import BadRequest

__all__ = ["example"]

# Deeper than this, unions take their last choice (null, where pydantic writes a union with it) and arrays are empty;
# so a model that contains itself has an end.
_DEEP = 8
_TOO_DEEP = 64


def example(schema: Any, text: str) -> Any:
    """A value for ``schema``; its free strings are ``text``, so that one can tell whose answer it is."""
    return _value(schema, _Context(schema, text), 0)


class _Context:
    """What stays the same on the way down."""

    def __init__(self, root: Any, text: str) -> None:
        self.root = root
        self.text = text

    def resolve(self, reference: Any) -> Any:
        """The part of the schema that ``$ref`` names; only references into the schema itself can be followed."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise BadRequest(f"Invalid schema: $ref {reference!r} is not within the schema")
        found = self.root
        for name in reference.removeprefix("#").split("/")[1:]:
            key = name.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or key not in found:
                raise BadRequest(f"Invalid schema: $ref {reference!r} leads nowhere")
            found = found[key]
        return found


def _value(schema: Any, context: _Context, depth: int) -> Any:
    if schema is True:  # anything is valid
        return context.text
    if not isinstance(schema, dict):
        raise BadRequest(f"Invalid schema: {schema!r} is not of type 'object'")
    if depth > _TOO_DEEP:
        raise BadRequest("Invalid schema: it contains itself without an end")
    if "$ref" in schema:
        return _value(context.resolve(schema["$ref"]), context, depth + 1)
    if "const" in schema:
        return schema["const"]
    for keyword in ("enum", "anyOf", "oneOf", "allOf"):
        if choices := schema.get(keyword):
            if not isinstance(choices, list):
                raise BadRequest(f"Invalid schema: {keyword} is not an array")
            choice = choices[-1 if depth > _DEEP else 0]
            return choice if keyword == "enum" else _value(choice, context, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[-1 if depth > _DEEP else 0] if kind else None
    make = _KINDS.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise BadRequest(f"Invalid schema: type {kind!r} is not known")
    try:
        return make(schema, context, depth)
    except (TypeError, AttributeError, ValueError, ArithmeticError):
        raise BadRequest(f"Invalid schema: the keywords of a {kind} do not fit it") from None


def _object(schema: dict[str, Any], context: _Context, depth: int) -> dict[str, Any]:
    return {name: _value(part, context, depth + 1) for name, part in schema.get("properties", {}).items()}


def _array(schema: dict[str, Any], context: _Context, depth: int) -> list[Any]:
    # A tuple's places come first, if it has any.
    places = [_value(part, context, depth + 1) for part in schema.get("prefixItems", ())]
    wanted = max(schema.get("minItems", 0), 0 if depth > _DEEP or schema.get("items", True) is False else 1)
    count = min(wanted, schema.get("maxItems", wanted)) - len(places)
    return places + [_value(schema.get("items", True), context, depth + 1) for _ in range(count)]


def _string(schema: dict[str, Any], context: _Context, _: int) -> str:
    text = context.text.ljust(schema.get("minLength", 0), ".")
    return text[: schema.get("maxLength", len(text))]


def _integer(schema: dict[str, Any], _: _Context, __: int) -> int:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
    high = schema.get("maximum", schema.get("exclusiveMaximum", math.inf) - 1)
    # The smallest that is allowed from 0 up, else the largest below.
    steps = math.ceil(low / step) if low > 0 else math.floor(min(high, 0) / step)
    return int(steps * step)


def _number(schema: dict[str, Any], _: _Context, __: int) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is not None and high is not None:
        return float((low + high) / 2)
    if low is not None:
        return float(low + 1)
    return 0.5 if high is None else float(high - 1)


_KINDS: dict[str, Callable[[dict[str, Any], _Context, int], Any]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "integer": _integer,
    "number": _number,
    "boolean": lambda *_: True,
    "null": lambda *_: None,
}
