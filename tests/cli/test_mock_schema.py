from __future__ import annotations

from typing import Any

import pytest

from offgil.mock.answer import BadRequest
from offgil.mock.schema import example

NODE: dict[str, Any] = {
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
            },
        }
    },
    "$ref": "#/$defs/Node",
}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, "text"),
        (True, "text"),
        ({"type": "string"}, "text"),
        ({"type": "string", "maxLength": 2}, "te"),
        ({"type": "string", "minLength": 6}, "text.."),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["integer", "null"]}, 0),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": 7, "type": "integer"}, 7),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 0),
        ({"allOf": [{"type": "boolean"}]}, True),
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "integer", "minimum": 0.5}, 1),
        ({"type": "integer", "exclusiveMinimum": 3}, 4),
        ({"type": "integer", "maximum": -3}, -3),
        ({"type": "integer", "minimum": -9, "exclusiveMaximum": -3}, -4),
        ({"type": "integer", "minimum": 4, "multipleOf": 5}, 5),
        ({"type": "integer", "maximum": -4, "multipleOf": 5}, -5),
        ({"type": "number"}, 0.5),
        ({"type": "number", "minimum": 3, "maximum": 3}, 3.0),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, 0.5),
        ({"type": "number", "minimum": 3}, 4.0),
        ({"type": "number", "exclusiveMaximum": 3}, 2.0),
        ({"type": "array", "items": {"type": "boolean"}}, [True]),
        ({"type": "array", "items": {"type": "boolean"}, "minItems": 3}, [True] * 3),
        ({"type": "array", "items": {"type": "boolean"}, "maxItems": 0}, []),
        (
            {"type": "array", "prefixItems": [{"type": "null"}, {"type": "boolean"}], "items": False, "minItems": 2},
            [None, True],
        ),
        ({"type": "object"}, {}),
        ({"properties": {"a": {"properties": {"b": {"type": "string"}}}}}, {"a": {"b": "text"}}),
        ({"$defs": {"a/b": {"type": "null"}}, "properties": {"x": {"$ref": "#/$defs/a~1b"}}}, {"x": None}),
    ],
)
def test_value_fits(schema: Any, value: object) -> None:
    got = example(schema, "text")
    assert got == value
    assert type(got) is type(value)


def test_a_schema_that_contains_itself_has_an_end() -> None:
    value = example(NODE, "text")
    depth = 0
    while value is not None:
        assert value["name"] == "text"
        value, depth = value["next"], depth + 1
    assert depth > 1


@pytest.mark.parametrize(
    "schema",
    [
        None,
        False,
        {"type": "word"},
        {"type": []},
        {"type": {}},
        {"enum": 3},
        {"$ref": "elsewhere.json"},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"x": 1}},
        {"type": "array", "minItems": "3"},
        {"type": "integer", "multipleOf": "x"},
        {"type": "integer", "multipleOf": 0},
        {"type": "number", "minimum": "x"},
        {"type": "string", "minLength": None},
        {"type": "integer", "minimum": float("inf")},
    ],
)
def test_a_schema_that_makes_no_sense_is_refused(schema: object) -> None:
    with pytest.raises(BadRequest):
        example(schema, "text")
