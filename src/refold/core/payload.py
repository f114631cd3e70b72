"""Payloads to the exact bytes that are stored; what cannot be stored is refused with its path."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from math import isfinite
from operator import itemgetter
from typing import Any, Final

import msgspec

from refold.core import jsonvalue
from refold.core.canonical import DEPTH_MAX, field_names, with_sorted_sets
from refold.errors import InvalidEvent, UsageError

EVENT_BYTES_MAX: Final = 8 * 1024 * 1024
"""The largest payload of one event, encoded."""

encode_unchecked = msgspec.json.Encoder().encode
"""Any payload to JSON; writes NaN as null, and nests without a limit."""
UNENCODABLE: Final = (TypeError, ValueError, AttributeError, OverflowError, RecursionError)
"""How the encoder refuses a payload."""


def may_be_deep(raw: bytes) -> bool:
    """Whether an encoded payload may nest too deep, so that it must be looked at."""
    return len(raw) > 2 * DEPTH_MAX and raw.count(b"[") + raw.count(b"{") > DEPTH_MAX


def encode_payload(payload: Any, *, what: str = "payload") -> bytes:
    """The exact bytes of a payload; :class:`InvalidEvent` says what cannot be stored and where."""
    payload = plain(payload)
    is_text = isinstance(payload, msgspec.Raw)
    raw, payload = (bytes(payload), read_back(payload)) if is_text else (encoded(payload), payload)
    # Of what was read of JSON text all can be stored, unless it nests too deep.
    for path, leaf in walk(payload) if not is_text or may_be_deep(raw) else ():
        _check_leaf(path, leaf)
    if len(raw) > EVENT_BYTES_MAX:
        path, size_bytes = _largest_part(payload)
        why = f"{what} is {len(raw)} bytes, over {EVENT_BYTES_MAX}; its largest part is "
        raise InvalidEvent(f"{why}{size_bytes} bytes", path=path)
    return raw


def encoded(payload: Any) -> bytes:
    """The bytes of a payload, of whatever size; :class:`InvalidEvent` for what JSON has not."""
    try:
        return encode_unchecked(payload)
    except UNENCODABLE as error:
        raise _refusal(payload, error) from error


def read_back(payload: msgspec.Raw) -> Any:
    """What a payload given as JSON text says; refused unless it is one value that can be read."""
    try:
        msgspec.json.decode(payload)  # Not every reader has a number over the range of floats.
        return jsonvalue.read(bytes(payload))
    except (ValueError, RecursionError, UsageError) as error:
        raise InvalidEvent(f"a msgspec.Raw is not one JSON value: {error}") from error


def walk(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every leaf of a payload with its JSON Pointer; refuses what nests too deep.

    The keys of a dict count as a leaf too: a dict of them alone.
    """
    children = _children(value)
    if children is None:
        yield path, value
        return
    if depth == DEPTH_MAX:
        raise InvalidEvent(f"the payload nests deeper than {DEPTH_MAX} levels", path=path)
    if isinstance(value, dict):
        yield path, dict.fromkeys(value)
    for key, child in children:
        yield from walk(child, path + jsonvalue.pointer((key,)), depth + 1)


def plain(payload: Any) -> Any:
    """A payload as the encoder takes it: of a model of pydantic's what it dumps."""
    return with_sorted_sets(payload.model_dump()) if hasattr(payload, "model_dump") else payload


def _children(value: Any) -> Iterator[tuple[str, Any]] | None:
    """The parts of whatever becomes a JSON object or array; None for a leaf."""
    if isinstance(value, dict):
        return ((str(key), child) for key, child in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ((str(index), child) for index, child in enumerate(value))
    if isinstance(value, Enum):
        return _children(value.value)
    if isinstance(value, msgspec.Raw):
        return _children(read_back(value))
    names = field_names(type(value))
    if not names:
        return None
    return ((name, getattr(value, name)) for name in names if hasattr(value, name))


def _check_leaf(path: str, leaf: Any) -> None:
    if isinstance(leaf, Enum):
        leaf = leaf.value
    if isinstance(leaf, float) and not isfinite(leaf):
        raise InvalidEvent(f"{leaf} cannot be stored: JSON has no such number", path=path)
    if isinstance(leaf, Decimal) and not leaf.is_finite():
        raise InvalidEvent(f"Decimal {leaf} cannot be stored: it is not a number", path=path)
    if isinstance(leaf, dict) and len(msgspec.json.decode(encode_unchecked(leaf))) < len(leaf):
        raise InvalidEvent("two keys are the same text in JSON: one would be lost", path=path)


def _refusal(payload: Any, error: Exception) -> InvalidEvent:
    """The error for a payload that the encoder refused, with the path of the culprit."""
    for path, leaf in walk(payload):
        try:
            encode_unchecked(leaf)
        except (TypeError, ValueError, AttributeError, OverflowError) as cause:
            return InvalidEvent(
                f"a value of type {type(leaf).__name__} cannot be stored: {cause}", path=path
            )
    return InvalidEvent(f"the payload cannot be stored: {error}")


def _largest_part(value: Any) -> tuple[str, int]:
    sizes = [(path, len(encode_unchecked(leaf))) for path, leaf in walk(value)]
    return max(sizes, key=itemgetter(1), default=("", 0))
