"""Redaction: a value of an event is taken out, and with it whatever else repeats it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.registry import Registry
from refold.engine.store import Store
from refold.errors import NotFound, RefoldError, UsageError, refuse_unless
from refold.ports import Backend, Check
from refold.privacy.decisions import decisions
from refold.privacy.envelope import REDACTED, WITHHELD, is_withheld
from refold.privacy.fitting import can_be_read, fitting, is_at, unreadable
from refold.privacy.passages import Edit, Passage, apply, of_span, of_value
from refold.privacy.places import spans, with_replaced
from refold.privacy.related import Lineage, find_event, opener, streams_about, texts_about
from refold.privacy.removing import (
    Progress,
    Removal,
    Removed,
    ValueChange,
    check_allowed,
    eraser_of,
    remove,
    take_up,
)
from refold.privacy.requests import HoldingRequests
from refold.privacy.stored import stored_backend
from refold.privacy.texts import LookedEvent, Text, looked

ROUNDS_MAX: Final = 10
"""So often what was appended meanwhile is looked through too."""
TOGETHER: Final = {"text": ("parts", "words"), "arguments": ("parsed",)}
"""Members of an event that say once more what another says: they go with the whole of it."""
REPEATING: Final = ("wire.", "langgraph.", "openai_agents.", "claude_agent_sdk.", "pydantic_ai.")
"""Types that hold what others say: there a short text that is a whole value is a repetition."""
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.decode


class Chosen(NamedTuple):
    """What of an event goes: the value at a pointer, or of the text there some stretches.

    ``spans`` are where these begin and end, in characters; None for the whole value.
    """

    event: LookedEvent
    pointer: str
    spans: Sequence[tuple[int, int]] | None = None


def redact(
    store: Store,
    where: Sequence[str],
    *,
    field: str = "",
    span: tuple[int, int] | None = None,
    match: str | None = None,
    wanted: Removal,
    dry_run: bool = False,
    progress: Progress = lambda *_: None,
) -> Removed:
    """Take values out of events, and whatever repeats them out of the same subject's streams.

    ``where`` are ids of events, or streams: all events of them. ``field`` is the JSON Pointer of a
    value, or the name of a member; ``span`` a part of its text by characters, ``match`` a regular
    expression for such parts: without a field, in any text of these events. What is left says
    ``[redacted]`` there.

    What is recorded while this goes on is looked through too. Raises
    :class:`~refold.errors.UsageError` (``held``, ``kept``) where a hold or a floor of retention
    keeps any of it: then nothing has changed.
    """
    refuse_unless(wanted.reason.strip(), "why", reason=wanted.reason)
    refuse_unless(span is None or match is None, "either of them", span=span)
    named = field or match is not None
    refuse_unless(named, "the name of a member, or the JSON Pointer of a value", field=field)
    eraser_of(store)
    if not dry_run:
        take_up(store, progress)
    events = [one for name in where for one in _events(store, name)]
    chosen = [one for event in events for one in _chosen(event, field, span, match)]
    if field and events and not any([*_candidates(one.plain, field)] for one in events):
        raise NotFound(f"no event of these has {field!r}: {_members(events)}", field=field)
    passages = _passages(chosen)
    removed = Removed("", ())
    for _ in range(ROUNDS_MAX):
        lineage = Lineage(store)
        streams = streams_about(store, lineage, events)
        changes = planned(store, lineage, streams, chosen, passages)
        if dry_run or not changes:
            check_allowed(store, changes, lineage, decisions(store), wanted)
            if not removed.changes:
                return removed._replace(changes=changes)
            return removed._replace(checks=[*removed.checks, *_closed(store, lineage, streams)])
        done = remove(store, changes, lineage, wanted, progress)
        removed = done._replace(changes=[*removed.changes, *done.changes])
        chosen = []
    raise RefoldError(
        f"what was redacted was said again {ROUNDS_MAX} times meanwhile: end what records it first",
        code="said_again",
    )


def _closed(store: Store, lineage: Lineage, streams: set[str]) -> Iterator[Check]:
    """Answers that could not be looked into, if there are any."""
    found = texts_about(stored_backend(store), lineage, streams, opener(store))
    closed = [one.events[0].id for one in found if one.is_closed]
    if closed:
        why = f"{len(closed):,} captured answers are packed in a way that is not known here"
        advice = "install what unpacks it (brotli, say), and redact again"
        yield Check("answers", False, f"{why}, the first is {closed[0]}: {advice}")


def planned(
    store: Store,
    lineage: Lineage,
    streams: set[str],
    chosen: Sequence[Chosen],
    passages: Sequence[Passage],
) -> list[ValueChange]:
    """What goes: what was chosen, what repeats it, and the digests of whole requests that did."""
    log, opened = stored_backend(store), opener(store)
    direct = _direct(store, chosen)
    digests: set[str] = set()
    requests = HoldingRequests(log)
    for text in texts_about(log, lineage, streams, opened):
        digests |= requests.digests(text, _without(text, passages, direct))
    whole = [*passages, *(Passage(one) for one in sorted(digests))]
    changes: dict[int, ValueChange] = {}
    for text in texts_about(log, lineage, streams, opened):
        for event in text.events:
            payload = _without(text, whole, direct).get(event.position)
            if payload is not None:
                _, pointer, method = direct.get(event.position, (b"", "", "repetition"))
                changes[event.position] = ValueChange(event, payload, pointer, method)
    for change in changes.values():
        _check_read(store.registry, change)
    for event in _with_digests(log, lineage, streams, [one.event for one in changes.values()]):
        changes.setdefault(event.position, ValueChange(event, event.plain, "", "digest"))
    return [changes[position] for position in sorted(changes)]


def _with_digests(
    log: Backend, lineage: Lineage, streams: set[str], changed: Sequence[LookedEvent]
) -> Iterator[LookedEvent]:
    """The events whose tags are digests of what was said, from the first that changes on."""
    first: dict[str, int] = {}
    for event in changed:
        root = lineage.root(event.row.stream)
        first[root] = min(first.get(root, event.position), event.position)
    for stream in (one for one in streams if lineage.root(one) in first):
        for event in looked(log, stream, lambda row: row):
            if event.has_digest and event.position >= first[lineage.root(stream)]:
                yield event


# -- what was chosen ------------------------------------------------------------------------------


def _events(store: Store, name: str) -> Iterator[LookedEvent]:
    """The event of an id, or all events of a stream."""
    if store._backend.head(name) is None and "@" in name:
        yield find_event(store, name)
        return
    if store._backend.head(name) is None:
        raise NotFound(f"stream {name!r} does not exist", stream=name)
    yield from looked(stored_backend(store), name, opener(store))


def _chosen(
    event: LookedEvent, field: str, span: tuple[int, int] | None, match: str | None
) -> Iterator[Chosen]:
    """What of an event goes; nothing where it has no such value, or it is gone already."""
    for pointer, value in _candidates(event.plain, field):
        if value == WITHHELD:
            why = (
                f"{pointer} of {event.id} is withheld: open the store with its keyring and an actor"
            )
            raise UsageError(why, code="no_key", id=event.id)
        if value is None or is_withheld(value):
            continue
        if span is None and match is None:
            yield Chosen(event, pointer)
            continue
        if not isinstance(value, str):
            raise UsageError(f"{pointer} of {event.id} is no text: take it out whole", id=event.id)
        spans_ = [span] if span is not None else [one.span() for one in _matches(match, value)]
        if any(not 0 <= start < end <= len(value) for start, end in spans_ if span is not None):
            said = f"{pointer} of {event.id} has {len(value)} characters"
            raise UsageError(f"span={span} is no part of it: {said}", argument="span")
        if spans_:
            yield Chosen(event, pointer, spans_)


def _matches(match: str | None, value: str) -> Iterator[re.Match[str]]:
    try:
        return (one for one in re.finditer(match or "", value) if one[0].strip())
    except re.error as error:
        why = f"match={match!r:.99} is no regular expression: {error}"
        raise UsageError(why, argument="match") from error


def _candidates(payload: bytes, field: str) -> Iterator[tuple[str, Any]]:
    """The values of a payload that a field names; without one all of its texts."""
    steps = _steps(field)
    found = spans(
        payload, lambda path, at: path == steps if field else payload[at : at + 1] == b'"'
    )
    for span in found:
        yield span.pointer.decode(), _decode(payload[span.start : span.end])


def _steps(field: str) -> tuple[str, ...]:
    said = field.removeprefix("/").split("/")
    return tuple(one.replace("~1", "/").replace("~0", "~") for one in said)


def _members(events: Sequence[LookedEvent]) -> str:
    data = [_decode(one.plain) for one in events]
    names = sorted({name for one in data if isinstance(one, dict) for name in one})
    return f"there are {', '.join(names)[:200]}" if names else "they have no members"


def _passages(chosen: Sequence[Chosen]) -> list[Passage]:
    found: dict[Passage, None] = {}
    for one in chosen:
        ((_, value),) = _candidates(one.event.plain, one.pointer)
        if one.spans is None:
            found |= dict.fromkeys(of_value(value))
        else:
            parts = [value[start:end] for start, end in one.spans]
            found |= dict.fromkeys(each for part in parts for each in of_span(part))
    return [*found]


# -- what stands there then -----------------------------------------------------------------------


def _direct(store: Store, chosen: Sequence[Chosen]) -> dict[int, tuple[bytes, str, str]]:
    """The payload of each chosen event, with pointer and method of its first change."""
    made: dict[int, tuple[bytes, str, str]] = {}
    for one in chosen:
        position = one.event.position
        first = (one.event.plain, one.pointer, "value" if one.spans is None else "span")
        before, pointer, method = made.get(position, first)
        if one.spans is None:
            payload = _emptied(store.registry, one.event, before, one.pointer)
        else:
            payload = _cut(before, one.pointer, one.spans)
        made[position] = (payload, pointer, method)
    return made


def _cut(payload: bytes, pointer: str, stretches: Sequence[tuple[int, int]]) -> bytes:
    ((_, text),) = _candidates(payload, pointer)
    (span,) = spans(payload, lambda path, _: path == _steps(pointer))
    text = apply(text, [Edit(start, end) for start, end in stretches])
    return with_replaced(payload, [(span, _encode(text))])


def _emptied(registry: Registry, event: LookedEvent, payload: bytes, pointer: str) -> bytes:
    """A payload without a value, and without what says it once more, such that it can be read."""
    steps = _steps(pointer)
    others = TOGETHER.get(steps[-1], ()) if len(steps) == 1 else ()
    for path in (steps, *((one,) for one in others)):
        for span in spans(payload, partial(is_at, path)):
            text = payload[span.start : span.end]
            if path != steps and text == b"null":
                continue
            payload = fitting(registry, event, payload, span, REDACTED)
    return payload


def _without(
    text: Text, passages: Sequence[Passage], direct: Mapping[int, tuple[bytes, str, str]]
) -> dict[int, bytes]:
    """The payloads of a text that change."""
    own = {one.position: direct[one.position][0] for one in text.events if one.position in direct}
    if own and len(text.events) == 1:
        text = text._replace(text=own[text.events[0].position].decode())
    elif not own and not text.events[-1].type.startswith(REPEATING):
        passages = [one for one in passages if one.how != "value"]
    return {**own, **text.without(passages)}


def _check_read(registry: Registry, change: ValueChange) -> None:
    if not can_be_read(registry, change.event, change.payload):
        raise unreadable(change.event)
