"""JSON in chat messages: what can be kept exactly, and what tool arguments say."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from refold.core import jsonvalue
from refold.core.jsonvalue import pointer
from refold.errors import InvalidEvent, UsageError

DEPTH_MAX: Final = 100
"""How deep a message may nest: under what an event may, since it is wrapped in one."""

Path = list[str | int]
_EXACT: Final = msgspec.json.Decoder(float_hook=Decimal)


def parsed_arguments(arguments: str) -> Any:
    """What a string of tool arguments says; None when it is not JSON that can be stored."""
    try:
        parsed = msgspec.json.decode(arguments)
        check_json(parsed, [])
    except (msgspec.DecodeError, InvalidEvent, RecursionError):
        return None
    return parsed


def exact_arguments(arguments: str) -> Any:
    """What tool arguments say, to compare: each number by its exact value, none at all as ``{}``.

    The text itself where it is not JSON; of a JSON string the JSON, as its text is another.
    """
    if not arguments.strip():
        return {}
    try:
        value = _EXACT.decode(arguments)
        jsonvalue.check(value)
    except (msgspec.DecodeError, UsageError, InvalidOperation, RecursionError):
        return arguments
    return {} if value is None else json_text(value) if isinstance(value, str) else value


def as_json(answer: Any) -> Any:
    """What an SDK's object says, without the defaults that nobody set; anything else as it is."""
    dump = getattr(answer, "model_dump", None)
    return answer if dump is None else dump(exclude_unset=True)


def canonical_json(value: Any) -> bytes:
    """A value as JSON that is the same whatever the order of its keys."""
    return msgspec.json.encode(value, order="deterministic")


def json_text(value: Any) -> str:
    """A value as JSON text."""
    return msgspec.json.encode(value).decode()


def check_json(value: Any, path: Path) -> None:
    """Refuse what would come back changed, or not at all, from its stored JSON."""
    try:
        jsonvalue.check(value, level=jsonvalue.DEPTH_MAX - DEPTH_MAX)
        if msgspec.json.decode(msgspec.json.encode(value)) == value:
            return
    except (UsageError, TypeError, ValueError, RecursionError):
        pass
    if len(path) >= DEPTH_MAX:
        raise refused(f"nested more than {DEPTH_MAX} levels deep", path)
    items = value.items() if isinstance(value, dict) else ()
    for key, child in enumerate(value) if isinstance(value, list) else items:
        if isinstance(value, dict) and not isinstance(key, str):
            raise refused(f"the key {key!r} is not text", path)
        check_json(child, [*path, key])
    raise refused(f"{value!r:.40} would not come back from JSON as it is", path)


def refused(reason: str, path: Path) -> InvalidEvent:
    """The error for what cannot be represented, with where it stands."""
    return InvalidEvent(reason, path=pointer(path))
