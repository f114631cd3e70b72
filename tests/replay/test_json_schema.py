"""Whether a value fits a schema, as jsonschema has it for the keywords that are checked."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.replay.json_schema import exact, misfit, resolved

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "ab", "abc"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=6,
)
TYPES = ["string", "number", "integer", "boolean", "null", "array", "object"]
KEYWORDS: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(TYPES) | st.lists(st.sampled_from(TYPES), min_size=1, unique=True),
    "enum": st.lists(SCALARS, min_size=1, max_size=3),
    "const": SCALARS,
    "minimum": st.integers(-2, 2),
    "maximum": st.integers(-2, 2),
    "exclusiveMinimum": st.integers(-2, 2),
    "exclusiveMaximum": st.integers(-2, 2),
    "multipleOf": st.integers(1, 3),
    "minLength": st.integers(0, 3),
    "maxLength": st.integers(0, 3),
    "minItems": st.integers(0, 3),
    "maxItems": st.integers(0, 3),
    "pattern": st.sampled_from(["a", "^b", "c$"]),
    "required": st.lists(st.sampled_from("abc"), unique=True, max_size=2),
}


def schema_of(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    several = st.lists(inner, min_size=1, max_size=2)
    nested = {
        "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
        "patternProperties": st.dictionaries(st.sampled_from(["a", "^b"]), st.just(True)),
        "additionalProperties": inner,
        "items": inner,
        "prefixItems": several,
        "anyOf": several,
        "oneOf": several,
        "allOf": several,
        "not": inner,
        "$ref": st.just("#/$defs/text"),
    }
    return st.fixed_dictionaries({}, optional=KEYWORDS | nested)


SCHEMAS = st.recursive(st.booleans(), schema_of, max_leaves=6)


@given(schema=SCHEMAS, value=VALUES)
def test_it_says_what_jsonschema_says(schema: Any, value: Any) -> None:
    """Of every keyword that is checked, alone and inside others."""
    whole = {"$defs": {"text": {"type": "string"}}, "allOf": [schema]}
    oracle = jsonschema.Draft202012Validator(whole)
    assert (misfit(exact(value), exact(whole)) is None) == oracle.is_valid(value)


@pytest.mark.parametrize(
    ("value", "schema", "said"),
    [
        ({"day": 3}, {"properties": {"day": {"type": "string"}}}, '/day: type must be "string"'),
        ({}, {"required": ["day"]}, "/day: is missing"),
        ({"x": 1}, {"properties": {}, "additionalProperties": False}, "/x: may not be there"),
        ([1, "a"], {"items": {"type": "integer"}}, '/1: type must be "integer"'),
        (1.5, {"multipleOf": 0.5}, None),
        (0.3, {"multipleOf": 0.1}, None),
        (1.0, {"type": "integer"}, None),
        (True, {"type": "integer"}, ': type must be "integer"'),
        (None, {"type": "string", "nullable": True}, None),
        (None, {"type": "string"}, ': type must be "string"'),
    ],
)
def test_it_says_where_and_why(value: Any, schema: Any, said: str | None) -> None:
    """As a JSON Pointer and what the schema says there; numbers are exact."""
    assert misfit(exact(value), exact(schema)) == said


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/a", "a": {"$ref": "#/a"}},
        {"$ref": "https://example.org/schema"},
        {"$ref": "#/nowhere"},
        {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"type": "no such type"},
        {"minimum": "3"},
        {"pattern": "("},
        {"required": 3},
        {"properties": []},
        {"enum": None},
        {"items": [{"type": "string"}]},
        {"format": "date"},
        [],
        "string",
        None,
    ],
)
def test_what_a_schema_says_wrongly_allows_everything(schema: Any) -> None:
    """And ends, however it refers to itself."""
    assert misfit(exact({"a": 1}), exact(schema)) is None


def test_a_reference_leads_to_its_schema() -> None:
    """Through others, in the same document."""
    root = {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "string"}}}
    assert resolved({"$ref": "#/$defs/a"}, root) == {"type": "string"}
