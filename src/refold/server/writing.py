"""Appending."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from refold.core.event import Event, category_of
from refold.core.expected import ANY, NO_STREAM, STREAM_EXISTS
from refold.core.query import Query
from refold.core.registry import Registry
from refold.core.validate import misfit
from refold.errors import InvalidEvent, UsageError
from refold.jsontext import kept, read
from refold.server.desk import ServedCall
from refold.server.wire import AppendAnswer, AppendRequest, Conditions, NewEvent
from refold.times import to_us

_EXPECTED: Final = {"any": ANY, "no_stream": NO_STREAM, "stream_exists": STREAM_EXISTS}
_EMPTY: Final = Raw(b"{}")


async def append(call: ServedCall) -> AppendAnswer:
    """Append events to a stream, all or none.

    Durable when it is answered. Where no answer comes, or one with `retry` `check`, send the same
    again with the same key: it is stored once.
    """
    call.grant.check_stream(call.stream)
    asked: AppendRequest = call.body
    registry = call.desk.store.registry
    events = [_event(event, index, registry) for index, event in enumerate(asked.events)]
    stored = await call.desk.shared.append(
        call.stream,
        events,
        expected=_EXPECTED.get(asked.expected, asked.expected),  # type: ignore[arg-type]
        key=None if asked.key is UNSET else _key(call, asked.key),
        metadata=_metadata(asked.metadata),
        tags=asked.tags,
        **_conditions(call, asked.conditions),
    )
    return AppendAnswer.of(stored)


def _event(event: NewEvent, index: int, registry: Registry) -> Event:
    data = _EMPTY if event.data is UNSET else event.data
    try:
        _check_fit(event.type, data, registry)
        at = None if event.occurred_at is UNSET else to_us(event.occurred_at)
        return Event(event.type, data, metadata=_metadata(event.metadata), occurred_at=at)
    except InvalidEvent as error:
        raise InvalidEvent(f"event {index}: {error.reason}", path=error.path, index=index) from None
    except UsageError as error:
        raise InvalidEvent(f"event {index}: {error.message}", index=index) from None


def _check_fit(type_name: str, data: Raw, registry: Registry) -> None:
    """Refuse a payload that the class of its type could not read; the store trusts exact bytes."""
    registry.check_in_use(type_name)
    found = misfit(msgspec.json.encode([(type_name, data)]), registry)
    if found is not None:
        raise InvalidEvent(f"it is no {type_name!r}: {found.reason}", path=found.path)


def _metadata(given: Any) -> dict[str, Any] | None:
    if given is UNSET:
        return None
    try:
        return {name: kept(read(bytes(raw))) for name, raw in given.items()}
    except (ValueError, RecursionError, UsageError) as error:
        raise InvalidEvent(f"metadata cannot be kept: {error}") from None


def _key(call: ServedCall, key: str) -> str:
    """The key as it is kept; of a token for some categories, one of those of the category alone.

    Else whoever guesses another's key would be told that it is one. A category has no hyphen, so
    those of two categories are never the same.
    """
    return f"{category_of(call.stream)}-{key}" if call.grant.categories else key


def _conditions(call: ServedCall, given: Any) -> dict[str, Any]:
    if given is UNSET:
        return {}
    if call.grant.categories:
        why = "conditions look at the whole log, and this token is for some categories of it"
        raise UsageError(why, code="forbidden")
    said: Conditions = given
    queries = [Query(types=one.types, tags=one.tags) for one in said.unless]
    return {"unless": reduce(or_, queries), "after": said.after}
