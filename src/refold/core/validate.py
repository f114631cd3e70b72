"""Whether encoded events fit their classes: what cannot be folded must not be recorded.

A class does not check what it is made with, and an untyped event may have the name of a class. So
a body is decoded once more before it is stored, as the classes of its registry.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from refold.core.dispatch import PLACED, Decoder
from refold.core.event import Kind
from refold.core.patch import pointer
from refold.core.registry import Registry
from refold.errors import InvalidEvent

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
        return msgspec.defstruct("Fitted", [("data", cls), *PLACED], tag=tag, array_like=True)

    return Decoder(wrap)


def misfit(body: bytes, registry: Registry) -> Misfit | None:
    """Why a body of one event does not fit its class; None where it does."""
    try:
        decoder_of(registry, registry.revision)(body)
    except msgspec.ValidationError as error:
        return _misfit(str(error))
    except msgspec.DecodeError as error:
        raise InvalidEvent(f"a msgspec.Raw of it is not JSON: {error}") from error
    return None


def _misfit(message: str) -> Misfit:
    found = _PLACE.fullmatch(message)
    if found is None or found[2] is None:
        return Misfit("", message)
    steps = [index or name for index, name in _STEP.findall(found[3])]
    return Misfit(pointer(steps) if steps else "", found[1])
