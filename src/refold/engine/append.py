"""What a caller wants appended, checked and encoded, and what came of it: the pure half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.codec import (
    EVENTS_PER_APPEND_MAX,
    Body,
    check_in_use,
    digest_of,
    encode_body,
    encode_metadata,
    encode_typed,
)
from refold.core.event import Event, check_name, event_id
from refold.core.expected import ANY, NO_STREAM, STREAM_EXISTS, Expected, check_expected
from refold.core.fitting import fitting_of
from refold.core.query import Condition, Query, checked_tags
from refold.core.registry import Registry
from refold.core.sets import holds_set, with_sorted_sets
from refold.errors import InvalidEvent, RefoldError, UsageError
from refold.ports import Batch, Committed, Fork, Write

STREAMS_PER_APPEND_MAX: Final = 1_000
_PLAIN_LISTS: Final = (list, tuple)


class Append(NamedTuple):
    """An append as a value: what :meth:`refold.Store.append` takes.

    In ``append_together`` the parts have no ``key`` of their own: the whole has one. ``tags`` are
    names that queries find the append by; they are kept as ``tags`` in its metadata.
    """

    stream: str
    events: Sequence[object]
    expected: Expected = ANY
    metadata: Mapping[str, Any] | None = None
    key: str | None = None
    tags: Sequence[str] = ()


class Appended(NamedTuple):
    """What an append stored.

    ``version`` and ``position`` are those of its last event, so ``version`` is what the next
    append of the same writer expects. ``duplicate``: its key had stored it before.
    """

    stream: str
    version: int
    position: int
    event_count: int
    recorded_at_us: int
    duplicate: bool = False

    @property
    def ids(self) -> list[str]:
        """The ids of the events, in order."""
        first = self.version - self.event_count + 1
        return [event_id(self.stream, first + index) for index in range(self.event_count)]


def write_of(append: Append, registry: Registry) -> Write:
    """An append to one stream, checked and encoded."""
    stream, events, expected, metadata, _, tags = append
    check_name(stream, what="a stream name")
    check_expected(expected)
    body = encode_typed(events, registry) if events.__class__ in _PLAIN_LISTS else None
    if body is None:
        body = _looked_into(events, registry)
    names: tuple[str, ...] = ()
    if tags or metadata.__class__ is not dict or "tags" in metadata:
        names, metadata = _tagged(append)
    text = encode_metadata(metadata)
    return Write(stream, expected, body.kinds, text, body.text, None, body.occurred, names)


def _looked_into(events: Sequence[object], registry: Registry) -> Body:
    """The same for events of every sort, and what is wrong with them."""
    if isinstance(events, str | bytes | Mapping):
        raise InvalidEvent("events must be a list of events")
    body = encode_body(events, registry)
    check_in_use(events, body, registry)
    _check_fit(events, body, registry)
    return body


def _tagged(append: Append) -> tuple[tuple[str, ...], Mapping[str, Any] | None]:
    """The tags of an append, and its metadata with them in it."""
    metadata = append.metadata
    held = metadata.get("tags", ()) if isinstance(metadata, Mapping) else ()
    if not append.tags and not held:
        return (), metadata
    tags = checked_tags([*checked_tags(append.tags), *checked_tags(held)])
    return tags, {**(metadata or {}), "tags": list(tags)}


def _check_fit(events: Sequence[object], body: Body, registry: Registry) -> None:
    """Refuse an event that its class could not read; copies of stored ones stay as they are."""
    misfit = fitting_of(registry).misfit(body.text, body.kinds)
    if misfit is None:
        return
    index, path, reason = misfit
    event = events[index]
    if isinstance(event, Event) and isinstance(event.data, msgspec.Raw):
        for other in events[index + 1 :]:
            _check_fit([other], encode_body([other], registry), registry)
        return
    raise InvalidEvent(
        f"event {index} is no {body.kinds[index]!r}: {reason}{_advice(reason)}",
        path=path,
        index=index,
    )


def _advice(reason: str) -> str:
    """What to give instead, where that can be told."""
    if reason == "Expected `str`, got `object`":
        return ": give text, such as json.dumps(…) of it"
    return ""


def _check_appends(appends: Sequence[object]) -> None:
    for append in appends:
        if not isinstance(append, Append):
            name = type(append).__name__
            raise UsageError(f"a part must be a refold.Append(stream, events), not {name}")


def batch_of(
    appends: Sequence[Append],
    key: str | None,
    registry: Registry,
    *,
    condition: Condition | None = None,
) -> Batch:
    """The appends checked and encoded, ready to be stored."""
    if isinstance(appends, Append) or not isinstance(appends, Sequence):
        raise UsageError(f"give a list of refold.Append values, not {type(appends).__name__}")
    if not 1 <= len(appends) <= STREAMS_PER_APPEND_MAX:
        raise UsageError(f"{len(appends)} parts in one append: give 1 to 1,000")
    _check_appends(appends)
    if any(append.key is not None for append in appends):
        raise UsageError("the parts of one append share its key: give key= beside them")
    return checked_batch(appends, key, registry, condition=condition)


def checked_batch(
    appends: Sequence[Append],
    key: str | None,
    registry: Registry,
    *,
    condition: Condition | None = None,
    digest: bytes = b"",
) -> Batch:
    """The same where the list itself needs no check: these are appends without a key of their own.

    ``digest`` is what is compared when the key comes again: by default that of their bytes.
    """
    if condition is not None:
        condition = _checked_condition(condition, registry)
    if key is None:
        return Batch([write_of(append, registry) for append in appends], None, b"", condition)
    writes = [write_of(_repeatable(append), registry) for append in appends]
    check_name(key, what="a key")
    digest = digest or digest_of((w.stream, w.body, w.metadata) for w in writes)
    return Batch(writes, key, digest, condition)


def _checked_condition(condition: Condition, registry: Registry) -> Condition:
    """The condition on what is stored; it is looked at in a commit, with those of others."""
    query, after = condition
    if not isinstance(query, Query):
        raise UsageError(f"unless={query!r:.99} is not a refold.Query", argument="unless")
    if isinstance(after, bool) or not isinstance(after, int) or after < 0:
        raise UsageError(f"after={after!r:.99} is not a position from 0", argument="after")
    return Condition(query.of_stored(registry.upcasts), after)


def _repeatable(append: Append) -> Append:
    """The append with its sets in an order that every process gives them."""
    events, metadata = append.events, append.metadata
    if isinstance(events, Sequence) and holds_set(events):
        append = append._replace(events=with_sorted_sets(events))
    if isinstance(metadata, Mapping) and holds_set(dict(metadata)):
        append = append._replace(metadata=with_sorted_sets(dict(metadata)))
    return append


def branch_batch(stream: str, fork: Fork, events: Sequence[object], registry: Registry) -> Batch:
    """The events of a new branch, however many: as many writes as they take, stored together."""
    writes: list[Write] = []
    for first in range(0, len(events), EVENTS_PER_APPEND_MAX):
        expected = STREAM_EXISTS if writes else NO_STREAM
        part = Append(stream, events[first : first + EVENTS_PER_APPEND_MAX], expected)
        writes.append(write_of(part, registry)._replace(fork=None if writes else fork))
    return Batch(writes)


def prepared(append: Append, registry: Registry) -> Batch | RefoldError:
    """An append as a batch of its own, or why it cannot be one."""
    try:
        _check_appends([append])
        return checked_batch([append._replace(key=None)], append.key, registry)
    except RefoldError as refusal:
        return refusal


def appended(outcome: Committed | RefoldError) -> list[Appended]:
    """A stored batch as its callers see it, one answer a part; a refused one is raised."""
    if isinstance(outcome, RefoldError):
        raise outcome
    placed, at, duplicate = outcome
    return [
        Appended(stream, version + size - 1, position + size - 1, size, at, duplicate)
        for stream, position, version, size in placed
    ]
