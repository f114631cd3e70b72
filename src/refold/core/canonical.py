"""What makes the bytes of an append the same wherever it is made again, and what they are known by.

JSON has no sets: they are stored as arrays. The order of a set differs between processes, so an
append that is tried again by another one would have other bytes under the same key, unless its sets
are sorted. Appends without a key are spared the look: nothing is compared.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from operator import is_not
from typing import Any, Final

import msgspec

DEPTH_MAX: Final = 128
"""How deep a payload may nest: far below where any JSON reader gives up."""
_OF_COMMAND: Final = b"\x01"
_encode = msgspec.json.Encoder().encode


def with_sorted_sets(value: Any, depth: int = 0) -> Any:
    """A payload with sorted lists in the place of its sets; a copy where there are any."""
    if depth > DEPTH_MAX:
        return value  # It is refused elsewhere.
    if isinstance(value, set | frozenset):
        return sorted((with_sorted_sets(item, depth + 1) for item in value), key=_encode)
    if isinstance(value, dict):
        changed = {key: with_sorted_sets(item, depth + 1) for key, item in value.items()}
        return changed if any(map(is_not, changed.values(), value.values())) else value
    if isinstance(value, list | tuple):
        items = [with_sorted_sets(item, depth + 1) for item in value]
        return items if any(map(is_not, items, value)) else value
    return _with_sorted_fields(value, depth)


def _with_sorted_fields(value: Any, depth: int) -> Any:
    changed = value
    for name in field_names(value) or ():
        part = getattr(value, name, None)
        ordered = with_sorted_sets(part, depth + 1)
        if ordered is not part:
            changed = copy.copy(value) if changed is value else changed
            _put(changed, name, ordered)
    return changed


def field_names(value: Any) -> Sequence[str] | None:
    """The fields of what is stored as an object or array of them; None for anything else."""
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if is_dataclass(value) and not isinstance(value, type):
        return [field.name for field in fields(value)]
    made_by_attrs = getattr(type(value), "__attrs_attrs__", None)
    return None if made_by_attrs is None else [field.name for field in made_by_attrs]


def _put(value: Any, name: str, part: Any) -> None:
    """Set a field of a copy, frozen or not."""
    if isinstance(value, msgspec.Struct):
        msgspec.structs.force_setattr(value, name, part)
    else:
        object.__setattr__(value, name, part)


def digest_of(parts: Iterable[tuple[str, str, str | None]]) -> bytes:
    """SHA-256 over what a keyed append stores: stream, body and metadata of each of its parts.

    Each text has its length before it, in UTF-8.
    """
    digest = hashlib.sha256()
    for part in parts:
        for text in part:
            encoded = (text or "").encode()
            digest.update(len(encoded).to_bytes(8, "big"))
            digest.update(encoded)
    return digest.digest()


def digest_of_command(stream: str, command: bytes) -> bytes:
    """What a command's append is known by: SHA-256 over it and its stream, after a byte 1."""
    digest = hashlib.sha256()
    for text in (stream.encode(), command):
        digest.update(len(text).to_bytes(8, "big"))
        digest.update(text)
    return _OF_COMMAND + digest.digest()


def is_of_command(digest: bytes) -> bool:
    """Whether a stored digest is that of a command, which cannot be told from the events."""
    return len(digest) == hashlib.sha256().digest_size + 1 and digest.startswith(_OF_COMMAND)
