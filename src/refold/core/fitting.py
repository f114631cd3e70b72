"""Whether encoded events fit their classes: what cannot be folded must not be recorded.

A class does not check what it is made with, and an untyped event may have the name of a class. So
a body is decoded once more before it is stored, as the classes of its registry.
"""

from __future__ import annotations

import re
import threading
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

import msgspec

from refold.core.closed import is_closed
from refold.core.event import Kind
from refold.core.patch import pointer
from refold.core.payload import encode_unchecked
from refold.core.registry import Registry
from refold.errors import InvalidEvent


class Misfit(NamedTuple):
    """The first event of a body that does not fit: where in its payload, and why."""

    event_index: int
    path: str
    reason: str


_PLACE = re.compile(r"(.*?)(?: - at `\$\[(\d+)\](?:\[1\])?(.*)`)?", re.DOTALL)
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|\.([^.\[]+)")


class Fitting:
    """Decodes bodies as the classes of one registry; threads may share it."""

    def __init__(self, registry: Registry) -> None:
        self.revision = registry.revision
        self._registry = registry
        self._learning = threading.Lock()
        self._wrappers: dict[str, type] = {}
        self._closed: dict[str, bool] = {}
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[Any])

    def holds_back(self, raw: bytes, tags: tuple[str, ...]) -> bool:
        """Whether a body must be searched for what JSON cannot say: reading it proves too little.

        Raises :class:`msgspec.DecodeError` where it does not fit.
        """
        are_closed = self._know(tags)
        read = self._decoder.decode(raw)
        if len(read) != len(tags):
            raise msgspec.DecodeError(f"{len(read)} events where there should be {len(tags)}")
        return not are_closed or encode_unchecked(read) != raw

    def misfit(self, text: str, tags: tuple[str, ...]) -> Misfit | None:
        """The first event of a body that does not fit its class; None where all do."""
        self._know(tags)
        try:
            self._decoder.decode(text)
        except msgspec.ValidationError as error:
            return _misfit(str(error))
        except msgspec.DecodeError as error:
            raise InvalidEvent(f"a msgspec.Raw of the append is not JSON: {error}") from error
        return None

    def _know(self, tags: tuple[str, ...]) -> bool:
        """Whether events of these kinds are closed; the decoder knows them from now on."""
        try:
            return min(map(self._closed.__getitem__, tags))
        except KeyError:
            self._learn(tags)
            return min(map(self._closed.__getitem__, tags))

    def _learn(self, tags: tuple[str, ...]) -> None:
        with self._learning:
            wrappers, known = dict(self._wrappers), dict(self._closed)
            for tag in tags:
                if tag not in wrappers:
                    cls = self._class_of(tag)
                    wrappers[tag], known[tag] = _wrapper(tag, cls), is_closed(cls)
            union = reduce(or_, wrappers.values())
            self._decoder = msgspec.json.Decoder(list[union])  # type: ignore[valid-type]
            self._wrappers = wrappers
            # Last: who finds a tag here takes a decoder that knows it.
            self._closed = known

    def _class_of(self, tag: str) -> Any:
        kind = Kind.parse(tag)
        return self._registry.class_of(kind) if self._registry.has_class(kind) else Any


def _wrapper(tag: str, cls: Any) -> type:
    if hasattr(cls, "model_validate"):
        cls = Any  # A pydantic model checks what it is made with.
    return msgspec.defstruct("Fitted", [("data", cls)], tag=tag, array_like=True)


def fitting_of(registry: Registry) -> Fitting:
    """The fitting of a registry, kept until a class is added."""
    kept: Fitting | None = registry.__dict__.get("_fitting")
    if kept is None or kept.revision != registry.revision:
        kept = registry.__dict__["_fitting"] = Fitting(registry)
    return kept


def _misfit(message: str) -> Misfit:
    found = _PLACE.fullmatch(message)
    if found is None or found[2] is None:
        return Misfit(0, "", message)
    steps = [index or name for index, name in _STEP.findall(found[3])]
    return Misfit(int(found[2]), pointer(steps) if steps else "", found[1])
