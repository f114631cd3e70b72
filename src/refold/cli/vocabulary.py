"""Which events the command line knows: their payloads are checked before they are recorded."""

from __future__ import annotations

from functools import cache

import msgspec

import refold
from refold import Event
from refold.cli.text import suggestion
from refold.errors import InvalidEvent, UnknownEventType


def check(event: Event, *, place: str) -> None:
    """Refuse an event of a type that is not in the vocabulary, or that does not fit its class.

    ``place`` is where it was written. Raises :class:`UnknownEventType`, naming the nearest types
    that there are, or :class:`InvalidEvent`.
    """
    tag = _tag(event)
    if tag not in _classes():
        near = suggestion(tag, _classes())
        raise UnknownEventType(
            f"{place}: there is no event type {tag!r}{near or ':'} --untyped records it as it is",
            type=tag,
        )
    check_known(event, place=place)


def check_known(event: Event, *, place: str) -> None:
    """Refuse an event that does not fit the class of its type; a type without one may be it."""
    tag = _tag(event)
    cls = _classes().get(tag)
    if cls is None:
        return
    if not isinstance(event.data, dict):
        raise InvalidEvent(f"{place}: the data of {tag} must be a JSON object", type=tag)
    fields = {field.encode_name for field in msgspec.structs.fields(cls)}
    for name in event.data:
        if name not in fields:
            near = suggestion(name, fields) or f": it has {', '.join(sorted(fields))}"
            raise InvalidEvent(f"{place}: {tag} has no field {name!r}{near}", type=tag, field=name)
    try:
        msgspec.convert(event.data, cls)
    except msgspec.ValidationError as error:
        raise InvalidEvent(f"{place}: not a {tag}: {error}", type=tag) from error


@cache
def _classes() -> dict[str, type]:
    """The event classes by type; a schema over 1 has its number behind it (``x.v2``)."""
    registry = load()
    return {kind.tag: registry.class_of(kind) for kind in registry.kinds()}


def load() -> refold.Registry:
    """The registry with every class that refold has."""
    from refold.conversation import Conversation

    return Conversation.registry


def _tag(event: Event) -> str:
    return event.type.removesuffix(".v1") if event.schema == 1 else f"{event.type}.v{event.schema}"
