"""Which event classes are closed: what reads as one of them holds only what JSON can say.

The encoder writes null for NaN and infinities, and nests without a limit; a reader that takes null
or any value would not notice. A closed class takes neither, so reading its bytes back is proof
enough, and they need not be searched.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import msgspec
from msgspec import inspect


class Closed(IntEnum):
    """How much reading an event back proves, from nothing to all; of several, the least counts."""

    NOT = 0
    """What it hides would read well: its bytes must be searched."""
    IF_SAME = 1
    """Nothing is hidden if what was read is encoded to the same bytes.

    Where a class is nested, an object of another class may stand, with fields that it lacks.
    """
    YES = 2
    """Nothing is hidden."""


_SCALARS: Final = (
    inspect.BoolType,
    inspect.IntType,
    inspect.FloatType,
    inspect.StrType,
    inspect.BytesType,
    inspect.DateTimeType,
    inspect.DateType,
    inspect.TimeType,
    inspect.TimeDeltaType,
    inspect.UUIDType,
    inspect.EnumType,
)
_LISTS: Final = (inspect.ListType, inspect.VarTupleType, inspect.SetType, inspect.FrozenSetType)


def closed(cls: Any) -> Closed:
    """How closed an event class is; only a ``msgspec.Struct`` is at all."""
    if not (isinstance(cls, type) and issubclass(cls, msgspec.Struct)):
        return Closed.NOT
    kind = inspect.type_info(cls)
    assert isinstance(kind, inspect.StructType)
    return _of_fields(kind, (cls,))


def _of_fields(kind: inspect.StructType, within: tuple[type, ...]) -> Closed:
    return min((_of(field.type, within) for field in kind.fields), default=Closed.YES)


def _of(kind: inspect.Type, within: tuple[type, ...]) -> Closed:
    """``within``: the classes around, for one that holds itself nests without a limit."""
    match kind:
        case inspect.Metadata(type=bare):
            return _of(bare, within)
        case inspect.LiteralType(values=values):
            return Closed.NOT if None in values else Closed.YES
        case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
            return min((_of(each, within) for each in types), default=Closed.YES)
        case inspect.DictType(key_type=inspect.StrType(), value_type=value):
            return _of(value, within)
        case inspect.StructType(cls=cls) if cls not in within:
            return min(Closed.IF_SAME, _of_fields(kind, (*within, cls)))
    if isinstance(kind, _LISTS):
        return _of(kind.item_type, within)
    return Closed.YES if isinstance(kind, _SCALARS) else Closed.NOT
