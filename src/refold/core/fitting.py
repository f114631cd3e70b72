"""Whether encoded events fit their classes: what cannot be folded must not be recorded.

A class does not check what it is made with, and an untyped event may have the name of a class. So
a body is decoded once more before it is stored, as the classes of its registry.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from functools import lru_cache, reduce
from operator import or_
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.event import Kind
from refold.core.patch import pointer
from refold.core.registry import Registry
from refold.core.stored import ABSENT
from refold.errors import InvalidEvent

Decode = Callable[[str | bytes], list[Any]]


class Misfit(NamedTuple):
    """Where in its payload an event does not fit, and why."""

    path: str
    reason: str


_REST: Final[list[tuple[str, Any, Any]]] = [
    ("occurred_at", int | None, None),
    ("metadata", msgspec.Raw, ABSENT),
]
_PLACE = re.compile(r"(.*?)(?: - at `\$\[(\d+)\](?:\[1\])?(.*)`)?", re.DOTALL)
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|\.([^.\[]+)")


class Fitting:
    """Decodes bodies as the classes of one registry; threads may share it.

    ``decode`` knows the kinds that it has met, unless their type is retired. What it gives has
    ``data``, ``occurred_at`` and ``metadata``.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._learning = threading.Lock()
        self._wrappers: dict[str, type] = {}
        self.decode: Callable[[str | bytes], list[Any]] = msgspec.json.Decoder(
            list[_Nothing]
        ).decode

    def misfit(self, body: bytes, tag: str) -> Misfit | None:
        """Why a body of one event does not fit its class; None where it does."""
        if tag not in self._wrappers:
            self._learn(tag)
        try:
            self.decode(body)
        except msgspec.ValidationError as error:
            return _misfit(str(error))
        except msgspec.DecodeError as error:
            raise InvalidEvent(f"a msgspec.Raw of it is not JSON: {error}") from error
        return None

    def _learn(self, tag: str) -> None:
        kind = Kind.parse(tag)
        cls: Any = self._registry.class_of(kind) if self._registry.has_class(kind) else Any
        with self._learning:
            wrappers = {**self._wrappers, tag: _wrapper(tag, cls)}
            union = reduce(or_, wrappers.values())
            self.decode = msgspec.json.Decoder(list[union]).decode  # type: ignore[valid-type]
            # Last: who finds a tag here takes a decoder that knows it.
            self._wrappers = wrappers


class _Nothing(msgspec.Struct, tag="", array_like=True):
    """What no event is."""


def _wrapper(tag: str, cls: Any) -> type:
    if hasattr(cls, "model_validate"):
        cls = Any  # A pydantic model checks what it is made with.
    return msgspec.defstruct("Fitted", [("data", cls), *_REST], tag=tag, array_like=True)


@lru_cache(maxsize=64)
def fitting_of(registry: Registry, _revision: int) -> Fitting:
    """The fitting of a registry at a revision of it."""
    return Fitting(registry)


def _misfit(message: str) -> Misfit:
    found = _PLACE.fullmatch(message)
    if found is None or found[2] is None:
        return Misfit("", message)
    steps = [index or name for index, name in _STEP.findall(found[3])]
    return Misfit(pointer(steps) if steps else "", found[1])
