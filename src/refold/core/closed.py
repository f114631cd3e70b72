"""Which event classes are closed: what reads as one of them holds only what JSON can say.

The encoder writes null for NaN and infinities, and nests without a limit; a reader that takes null
or any value would not notice. A closed class takes neither. Where a body of such classes is read
back and encoded to the same bytes again, nothing is hidden in it, and it need not be searched.
(A class does not check what it is made with: a ``Decimal`` where text is declared is text.)
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import inspect

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


def is_closed(cls: Any) -> bool:
    """Whether an event class is closed; only a ``msgspec.Struct`` can be."""
    if not (isinstance(cls, type) and issubclass(cls, msgspec.Struct)):
        return False
    return _is_closed(inspect.type_info(cls), ())


def _is_closed(kind: inspect.Type, within: tuple[type, ...]) -> bool:
    """``within``: the classes around, for one that holds itself nests without a limit."""
    match kind:
        case inspect.Metadata(type=bare):
            return _is_closed(bare, within)
        case inspect.LiteralType(values=values):
            return None not in values
        case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
            return all(_is_closed(each, within) for each in types)
        case inspect.DictType(key_type=inspect.StrType(), value_type=value):
            return _is_closed(value, within)
        case inspect.StructType(cls=cls, fields=fields) if cls not in within:
            return all(_is_closed(field.type, (*within, cls)) for field in fields)
    if isinstance(kind, _LISTS):
        return _is_closed(kind.item_type, within)
    return isinstance(kind, _SCALARS)
