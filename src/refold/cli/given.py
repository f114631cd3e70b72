"""Events as a command is given them: JSON objects with ``type`` and ``data``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

import refold
from refold.cli import jsontext
from refold.cli.text import suggestion
from refold.errors import InvalidEvent, UsageError
from refold.jsontext import kept
from refold.times import to_us

_PLACED: Final = ("position", "stream", "version", "id", "recorded_at")
"""What `refold show --json` prints beside; left out, so that its lines can be given again."""


def events_given(text: str, *, option: str) -> list[refold.Event]:
    """The events of JSON, or of ``@file``: an object, or a list of them."""
    value = jsontext.argument(text, option=option)
    return [
        exactly(event_of(one, option)) for one in (value if isinstance(value, list) else [value])
    ]


class _Written(msgspec.Struct):
    """An event as it is written."""

    type: str
    data: Any = {}
    schema: int = 1
    metadata: dict[str, Any] | None = None
    occurred_at: str | None = None


def event_of(value: Any, place: str) -> refold.Event:
    """The event of a JSON object; :class:`InvalidEvent` names the place where it was written."""
    if not isinstance(value, Mapping) or "type" not in value:
        raise InvalidEvent(f'{place}: an event is a JSON object with "type" and "data"')
    fields = _Written.__struct_fields__
    for name in value:
        if name not in fields and name not in _PLACED:
            near = suggestion(name, fields)
            raise InvalidEvent(f"{place}: an event has no {name!r}{near}", field=name)
    try:
        said = msgspec.structs.asdict(msgspec.convert(value, _Written))
        if said["occurred_at"] is not None:
            said["occurred_at"] = to_us(said["occurred_at"])
    except (msgspec.ValidationError, UsageError) as error:
        raise InvalidEvent(f"{place}: {error}") from error
    return refold.Event(**said)


def exactly(event: refold.Event) -> refold.Event:
    """The event with each number as it was written."""
    metadata = each_kept(event.metadata)
    return replace(event, data=kept(event.data), metadata=metadata)


def each_kept(metadata: Any) -> Any:
    """Metadata with each number as it was written."""
    if not isinstance(metadata, dict):
        return metadata
    return {key: kept(value) for key, value in metadata.items()}
