"""JSON text as values, to the last digit: what the commands read and print."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from refold.core.jsonvalue import pointer, read

__all__ = ["exact", "read", "rounded"]

_encode = msgspec.json.Encoder(decimal_format="number").encode


def exact(value: object) -> msgspec.Raw:
    """A value that was read as JSON as its text, with each number as it was read."""
    return msgspec.Raw(_encode(value))


def rounded(value: Any, *place: str | int) -> Iterator[tuple[str, Decimal]]:
    """The numbers of a value that a float would round, each with its JSON Pointer."""
    if isinstance(value, Decimal):
        yield pointer(place), value
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from rounded(item, *place, key)
