"""What makes the bytes of an append the same wherever it is made again, and what they are known by.

JSON has no sets: they are stored as arrays. The order of a set differs between processes, so an
append that is tried again by another one would have other bytes under the same key, unless its sets
are sorted. Appends without a key are spared the look: nothing is compared.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import structs

DEPTH_MAX: Final = 128
"""How deep a payload may nest: far below where any JSON reader gives up."""
_OF_COMMAND: Final = b"\x01"
OF_REPLACED: Final = b"\x02"
"""Of an append of which events were replaced: whatever comes under its key is a repeat."""
_SCALARS: Final = frozenset({str, int, float, bool, type(None), bytes, Decimal, datetime})
_SETS: Final = (set, frozenset)
_LISTS: Final = (list, tuple)
_LEVELS: Final = range(DEPTH_MAX + 1)
_encode = msgspec.json.Encoder().encode


def with_sorted_sets(value: Any) -> Any:
    """A payload with sorted lists in the place of its sets; a copy where there are any."""
    if not _holds_set(value):
        return value
    if isinstance(value, _SETS):
        return sorted(map(with_sorted_sets, value), key=_encode)
    if isinstance(value, dict):
        return {key: with_sorted_sets(item) for key, item in value.items()}
    if isinstance(value, _LISTS):
        return [with_sorted_sets(item) for item in value]
    changed = copy.copy(value)
    for name in _suspects(value.__class__):
        if hasattr(value, name):
            _put(changed, name, with_sorted_sets(getattr(value, name)))
    return changed


def _holds_set(value: Any) -> bool:
    """Whether there is a set anywhere in a payload; what nests deeper is refused elsewhere."""
    level = [value]
    for _ in _LEVELS:
        parts: list[Any] = []
        for part in level:
            cls = part.__class__
            if cls in _SCALARS:
                continue
            if cls is list or cls is tuple:
                parts += part
            elif cls is dict or isinstance(part, dict):
                parts += part.values()
            elif isinstance(part, _SETS):
                return True
            else:
                parts += [getattr(part, name, None) for name in _suspects(cls)]
        if not parts:
            break
        level = parts
    return False


def field_names(cls: type) -> Sequence[str]:
    """The fields of what is stored as an object or array of them; none of anything else."""
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_fields__
    if is_dataclass(cls):
        return [field.name for field in fields(cls)]
    return [field.name for field in getattr(cls, "__attrs_attrs__", ())]


@lru_cache(maxsize=4096)
def _suspects(cls: type) -> Sequence[str]:
    """The fields of a class that may hold a set, by what a Struct says of them."""
    with suppress(Exception):  # No Struct, or annotations that cannot be resolved.
        return [field.name for field in structs.fields(cls) if not _is_scalar(field.type)]
    return field_names(cls)


def _is_scalar(annotation: Any) -> bool:
    if get_origin(annotation) in (Union, UnionType):
        return all(map(_is_scalar, get_args(annotation)))
    return get_origin(annotation) is Literal or annotation in _SCALARS


def _put(value: Any, name: str, part: Any) -> None:
    """Set a field of a copy, frozen or not."""
    if isinstance(value, msgspec.Struct):
        structs.force_setattr(value, name, part)
    else:
        object.__setattr__(value, name, part)


def digest_of(parts: Iterable[tuple[str, str | bytes, str | bytes | None]]) -> bytes:
    """SHA-256 over what a keyed append stores: stream, body and metadata of each of its parts.

    Each text has its length before it, in UTF-8; it may be given as that.
    """
    return _hashed(text or b"" for part in parts for text in part)


def digest_of_command(stream: str, command: bytes) -> bytes:
    """What a command's append is known by: SHA-256 over it and its stream, after a byte 1."""
    return _OF_COMMAND + _hashed((stream, command))


def _hashed(texts: Iterable[str | bytes]) -> bytes:
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode() if isinstance(text, str) else text
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.digest()


def is_of_replaced(digest: bytes) -> bool:
    """Whether a stored digest is that of an append of which events were replaced."""
    return digest == OF_REPLACED


def tells_of_events(digest: bytes) -> bool:
    """Whether a stored digest can be made again from the events.

    That of a command says what was asked for, not what came of it.
    """
    of_command = len(digest) == hashlib.sha256().digest_size + 1 and digest[:1] == _OF_COMMAND
    return not of_command and not is_of_replaced(digest)
