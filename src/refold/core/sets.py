"""Sets in payloads, which JSON has not: they are stored as sorted arrays.

The order of a set differs between processes, so an append that is tried again by another one would
have other bytes under the same key. Appends without a key are spared the look: nothing is compared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin
from uuid import UUID

import msgspec

_DEPTH_MAX: Final = 128
"""What nests deeper is refused elsewhere."""
_SCALARS: Final[frozenset[Any]] = frozenset(
    {str, int, float, bool, type(None), bytes, Decimal, datetime, date, time, timedelta, UUID}
)
_SETS: Final = frozenset({set, frozenset})
_encode = msgspec.json.Encoder().encode


def holds_set(value: Any, depth: int = 0) -> bool:
    """Whether a payload holds a set anywhere."""
    cls = value.__class__
    if cls in _SCALARS:
        return False
    if cls in _SETS:
        return True
    if depth == _DEPTH_MAX:
        return False
    for part in _parts(value, cls):
        if part.__class__ not in _SCALARS and holds_set(part, depth + 1):
            return True
    return False


def with_sorted_sets(value: Any) -> Any:
    """A payload with sorted lists in the place of its sets; a copy where there are any."""
    if not holds_set(value):
        return value
    if type(value) in _SETS:
        return sorted(map(with_sorted_sets, value), key=_encode)
    if isinstance(value, dict):
        return {key: with_sorted_sets(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return [with_sorted_sets(item) for item in value]
    copied = copy.copy(value)
    for name in _suspects(type(value)):
        if hasattr(value, name):
            _put(copied, name, with_sorted_sets(getattr(value, name)))
    return copied


def _parts(value: Any, cls: type) -> Iterable[Any]:
    """What of a value may hold a set."""
    if cls is dict or issubclass(cls, dict):
        found: Iterable[Any] = value.values()
        return found
    if cls is list or cls is tuple:
        return value  # type: ignore[no-any-return]
    return [getattr(value, name, None) for name in _suspects(cls)]


def _suspect_fields(cls: Any) -> Sequence[str]:
    """The fields of a class that may hold a set."""
    try:
        if issubclass(cls, msgspec.Struct):
            typed = [(field.name, field.type) for field in msgspec.structs.fields(cls)]
            return tuple(name for name, annotation in typed if not _is_scalar(annotation))
    except Exception:  # annotations that cannot be resolved
        return tuple(getattr(cls, "__struct_fields__", ()))
    if is_dataclass(cls):
        return tuple(field.name for field in fields(cls))
    return tuple(field.name for field in getattr(cls, "__attrs_attrs__", ()))


_suspects: Callable[[Any], Sequence[str]] = lru_cache(maxsize=4096)(_suspect_fields)


def _is_scalar(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Literal:
        return True
    if origin is Annotated:
        return _is_scalar(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return all(map(_is_scalar, get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return True
    return origin is None and isinstance(annotation, type) and annotation in _SCALARS


def _put(value: Any, name: str, part: Any) -> None:
    """Set a field of a copy, frozen or not."""
    if isinstance(value, msgspec.Struct):
        msgspec.structs.force_setattr(value, name, part)
    else:
        object.__setattr__(value, name, part)
