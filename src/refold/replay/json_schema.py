"""Whether a JSON value fits a JSON schema, as far as tools and output contracts say it.

The keywords of JSON Schema 2020-12 (https://json-schema.org/draft/2020-12) that stand in the
tables below, and OpenAPI's ``nullable``. What is left out (``format``, which is an annotation,
conditions, references to other documents), and what a schema says wrongly, allows everything: no
fault is found by guessing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from refold.conversation.chat_shapes import exact_arguments, json_text
from refold.core import jsonvalue
from refold.errors import UsageError

STEPS_MAX: Final = 100_000
"""A check that takes more is given up, and finds nothing."""
REFERENCES_MAX: Final = 10
SAID_CHARS_MAX: Final = 80
_ODD: Final = (TypeError, ValueError, AttributeError, ArithmeticError, re.error, RecursionError)


class _Check(NamedTuple):
    """Where a check is: the whole schema, the pointer into the value, and the steps left."""

    root: Any
    at: str
    steps: list[int]

    def inside(self, key: str | int) -> _Check:
        return self._replace(at=self.at + jsonvalue.pointer((key,)))


def exact(value: Any) -> Any:
    """A JSON value with each number as its exact value, as :func:`misfit` takes both."""
    return exact_arguments(f"[{json_text(value)}]")[0]


def misfit(value: Any, schema: Any) -> str | None:
    """What is wrong with a value first, as ``pointer: reason``; None where it fits.

    The numbers of both are whole or ``Decimal``: see :func:`exact`. Never raises.
    """
    try:
        return next(_found(value, schema, _Check(schema, "", [STEPS_MAX])), None)
    except (*_ODD, UsageError):
        return None


def resolved(schema: Any, root: Any) -> Any:
    """The schema that ``$ref`` leads to, in the same document; else the schema itself."""
    for _ in range(REFERENCES_MAX):
        named = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(named, str) or not named.startswith("#"):
            break
        schema = jsonvalue.resolve(root, named[1:])
    return schema


_Found = Iterator[str]


def _found(value: Any, schema: Any, place: _Check) -> _Found:
    place.steps[0] -= 1
    if place.steps[0] < 0:
        raise ValueError("too many steps")
    if schema is False:
        yield f"{place.at}: may not be there"
    for keyword, said in schema.items() if isinstance(schema, Mapping) else ():
        if (check := _CHECKS.get(keyword)) is not None:
            yield from check(value, said, schema, place)
        elif not _holds(keyword, value, said) and not (
            value is None and schema.get("nullable") is True
        ):
            yield f"{place.at}: {keyword} must be {json_text(said):.{SAID_CHARS_MAX}}"


def _holds(keyword: str, value: Any, said: Any) -> bool:
    try:
        return keyword not in _TESTS or _TESTS[keyword](value, said)
    except (*_ODD, LookupError):
        return True


def _fits(value: Any, schema: Any, place: _Check) -> bool:
    return next(_found(value, schema, place), None) is None


# -- keywords that are a test of the value by itself ----------------------------------------------

_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "string": str,
    "array": list,
    "object": dict,
    "number": (int, Decimal),
    "null": type(None),
}


def _is_of(value: Any, named: Any) -> bool:
    if isinstance(named, list):
        return any(_is_of(value, one) for one in named)
    if isinstance(value, bool) or named == "boolean":
        return isinstance(value, bool) and named == "boolean"
    if named == "integer":
        return isinstance(value, int | Decimal) and value == int(value)
    return isinstance(value, _TYPES[named])


def _if(kind: Any, holds: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """A test that other kinds of values pass; True is no number."""
    return lambda value, said: (
        not isinstance(value, kind) or isinstance(value, bool) or holds(value, said)
    )


_NUMBER: Final = (int, Decimal)
_TESTS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "type": _is_of,
    "const": jsonvalue.equal,
    "enum": lambda value, said: any(jsonvalue.equal(value, one) for one in said),
    "minimum": _if(_NUMBER, lambda value, said: value >= said),
    "maximum": _if(_NUMBER, lambda value, said: value <= said),
    "exclusiveMinimum": _if(_NUMBER, lambda value, said: value > said),
    "exclusiveMaximum": _if(_NUMBER, lambda value, said: value < said),
    "multipleOf": _if(_NUMBER, lambda value, said: value % said == 0),
    "minLength": _if(str, lambda value, said: len(value) >= said),
    "maxLength": _if(str, lambda value, said: len(value) <= said),
    "minItems": _if(list, lambda value, said: len(value) >= said),
    "maxItems": _if(list, lambda value, said: len(value) <= said),
    "pattern": _if(str, lambda value, said: re.search(said, value) is not None),
}

# -- keywords that look further -------------------------------------------------------------------


def _required(value: Any, said: Any, _: Any, place: _Check) -> _Found:
    for key in said if isinstance(value, dict) else ():
        if key not in value:
            yield f"{place.inside(key).at}: is missing"


def _properties(value: Any, said: Any, _: Any, place: _Check) -> _Found:
    for key, item in value.items() if isinstance(value, dict) else ():
        yield from _found(item, said.get(key, True), place.inside(key))


def _additional(value: Any, said: Any, schema: Mapping[str, Any], place: _Check) -> _Found:
    own, patterns = schema.get("properties") or {}, schema.get("patternProperties") or {}
    for key, item in value.items() if isinstance(value, dict) else ():
        if key not in own and not any(re.search(pattern, key) for pattern in patterns):
            yield from _found(item, said, place.inside(key))


def _items(value: Any, said: Any, schema: Mapping[str, Any], place: _Check) -> _Found:
    first = schema.get("prefixItems") or []
    for index, item in enumerate(value if isinstance(value, list) else ()):
        if index >= len(first) and not isinstance(said, list):
            yield from _found(item, said, place.inside(index))


def _first_items(value: Any, said: Any, _: Any, place: _Check) -> _Found:
    for index, item in enumerate(value[: len(said)] if isinstance(value, list) else ()):
        yield from _found(item, said[index], place.inside(index))


def _some_of(value: Any, said: Any, schema: Mapping[str, Any], place: _Check) -> _Found:
    fitting = sum(_fits(value, one, place) for one in said)
    if fitting == 0 or (said is schema.get("oneOf") and fitting > 1):
        yield f"{place.at}: fits {fitting} of the {len(said)} that it may be"


def _all_of(value: Any, said: Any, _: Any, place: _Check) -> _Found:
    for one in said:
        yield from _found(value, one, place)


def _not(value: Any, said: Any, _: Any, place: _Check) -> _Found:
    if _fits(value, said, place):
        yield f"{place.at}: is what it must not be"


def _ref(value: Any, _: Any, schema: Mapping[str, Any], place: _Check) -> _Found:
    meant = resolved(schema, place.root)
    yield from () if meant is schema else _found(value, meant, place)


_CHECKS: Final[dict[str, Callable[[Any, Any, Mapping[str, Any], _Check], _Found]]] = {
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "prefixItems": _first_items,
    "anyOf": _some_of,
    "oneOf": _some_of,
    "allOf": _all_of,
    "not": _not,
    "$ref": _ref,
}
