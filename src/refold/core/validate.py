"""Whether encoded events fit their classes: what cannot be folded must not be recorded.

A class does not check what it is made with, and an untyped event may have the name of a class. So
a body is decoded once more before it is stored, as the classes of its registry.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect

from refold.core.dispatch import PLACED, Decoder
from refold.core.event import Kind
from refold.core.jsonvalue import pointer
from refold.core.registry import Registry
from refold.errors import InvalidEvent

_SCALARS = (inspect.BoolType, inspect.IntType, inspect.FloatType, inspect.StrType)
_PLACE = re.compile(r"(.*?)(?: - at `\$\[(\d+)\](?:\[1\])?(.*)`)?", re.DOTALL)
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|\.([^.\[]+)")


class Misfit(NamedTuple):
    """Where in its payload an event does not fit, and why."""

    path: str
    reason: str


@lru_cache(maxsize=64)
def decoder_of(registry: Registry, _revision: int) -> Decoder:
    """Decodes bodies as the classes of a registry, at a revision of it.

    What it gives has ``data``, ``occurred_at`` and ``metadata``. Raises
    :class:`msgspec.DecodeError` for what does not fit, :class:`~refold.errors.InvalidEvent` for a
    type that is retired.
    """

    def wrap(tag: str) -> type:
        registry.check_in_use(tag)
        kind = Kind.parse(tag)
        cls: Any = registry.class_of(kind) if registry.has_class(kind) else Any
        if hasattr(cls, "model_validate"):
            cls = Any  # A pydantic model checks what it is made with.
        fields = [("data", cls), *PLACED]
        said = {"is_closed": is_closed(cls)}
        return msgspec.defstruct("Fitted", fields, tag=tag, array_like=True, namespace=said)

    return Decoder(wrap)


def is_closed(cls: Any) -> bool:
    """Whether what reads as a class, and encodes to the same text again, hides nothing.

    The encoder writes null for what JSON has no number for, and nests without a limit; a reader
    that takes null, any value or itself would not notice. A closed class takes none of them.
    """
    is_struct = isinstance(cls, type) and issubclass(cls, msgspec.Struct)
    return is_struct and _is_closed(inspect.type_info(cls), ())


def _is_closed(kind: inspect.Type, within: tuple[type, ...]) -> bool:
    """``within``: the classes around, for one that holds itself nests without a limit."""
    match kind:
        case inspect.Metadata(type=bare):
            return _is_closed(bare, within)
        case inspect.LiteralType(values=values):
            return None not in values
        case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
            return all(_is_closed(each, within) for each in types)
        case inspect.DictType(key_type=inspect.StrType(), value_type=item):
            return _is_closed(item, within)
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return _is_closed(item, within)
        case inspect.StructType(cls=cls, fields=fields) if cls not in within:
            return all(_is_closed(field.type, (*within, cls)) for field in fields)
    return isinstance(kind, _SCALARS)


def misfit(body: bytes, registry: Registry) -> Misfit | None:
    """Why a body of one event does not fit its class; None where it does."""
    try:
        decoder_of(registry, registry.revision)(body)
    except msgspec.ValidationError as error:
        return _misfit(str(error))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"a msgspec.Raw of it is not JSON: {error}") from error
    return None


def _misfit(message: str) -> Misfit:
    found = _PLACE.fullmatch(message)
    if found is None or found[2] is None:
        return Misfit("", message)
    steps = [index or name for index, name in _STEP.findall(found[3])]
    return Misfit(pointer(steps) if steps else "", found[1])
