"""Events to the exact bytes that are stored.

An append's body is a JSON array of events, each ``[tag, payload, occurred_at, metadata]`` with
what is absent at the end left out. ``docs/format.md`` is the whole description. All of it is
encoded by one call and read back as the classes of its events. Where that leaves a doubt, the
events are encoded one by one, to say which of them cannot be stored, and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter, is_not
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.canonical import DEPTH_MAX, with_sorted_sets
from refold.core.clock import recordable, to_us
from refold.core.event import Event, checked_tag
from refold.core.payload import (
    EVENT_BYTES_MAX,
    UNENCODABLE,
    encode_payload,
    encode_unchecked,
    encoded,
    may_be_deep,
    plain,
    read_back,
    walk,
)
from refold.core.recorded import Recorded
from refold.core.registry import Registry
from refold.core.stored import ABSENT, Row, StoredEvent, decode_body
from refold.core.validate import decoder_of, misfit
from refold.errors import InvalidEvent, RefoldError

EVENTS_PER_APPEND_MAX: Final = 10_000
APPEND_BYTES_MAX: Final = 128 * 1024 * 1024
"""The most that one append to one stream may hold, encoded."""
_LISTS: Final = (list, tuple)
_PLAIN: Final = frozenset({str, int, bool})
_NOT_AT_ONCE: Final = (*UNENCODABLE, RefoldError, msgspec.DecodeError)
_decode: Final = msgspec.json.decode
_pack: Final = msgspec.msgpack.Encoder().encode
_is_closed: Final = attrgetter("is_closed")
_rest_of: Final = attrgetter("occurred_at", "metadata")
_NOTHING: Final = (None, ABSENT)


Span = tuple[int, int] | tuple[None, None]


class Occurred(NamedTuple):
    """The times that the events of an append say of themselves, in microseconds.

    ``first`` and ``last`` are the earliest and latest; ``whole`` when every event says one.
    """

    first: int
    last: int
    whole: bool


class Body(NamedTuple):
    """An encoded append: ``text`` is what is stored, ``kinds`` the tag of each event's kind."""

    text: str
    kinds: tuple[str, ...]
    occurred: Occurred | None = None


def encode_body(events: Sequence[object], registry: Registry, *, repeatable: bool = False) -> Body:
    """The body of an append of typed events and :class:`Event` values.

    With ``repeatable`` sets are stored in an order that every process gives them. Raises
    :class:`InvalidEvent` naming the event, and the path inside its payload, for what cannot be
    stored, does not fit the class of its type, or is of a type that is retired.
    """
    if events.__class__ not in _LISTS or not 0 < len(events) <= EVENTS_PER_APPEND_MAX:
        _check_list(events)
    decoder = decoder_of(registry, registry.revision)
    try:
        if Event in map(type, events):
            events = [_bare(event, registry.tags) for event in events]
        kinds: tuple[Any, ...] = tuple(map(registry.tags.get, map(type, events)))
        arrays: list[tuple[Any, ...]] = list(zip(kinds, events, strict=True))
        are_typed = None not in kinds
        if not are_typed:
            arrays = [_array_of(event, registry) for event in events]
            kinds = tuple([array[0] for array in arrays])
        raw = encode_unchecked(arrays)
        try:
            read = decoder.known.body(raw)
        except msgspec.ValidationError:  # Of a type that is new, or unfit.
            read = decoder(raw)
        text = raw.decode()
    except _NOT_AT_ONCE:
        return encode_one_by_one(events, registry, repeatable=repeatable)
    if repeatable:
        ordered = with_sorted_sets(events)
        if ordered is not events:
            return encode_body(ordered, registry)
    bare = list(map(_rest_of, read)) == [_NOTHING] * len(kinds)
    objects = raw.count(b"{")
    # Of the fields of a class none is lost; anything else may be a dict, whose keys may be.
    is_flat = are_typed and objects <= len(kinds)
    whole = map(_is_closed, read) if are_typed else map(_is_plain, [data for _, data, *_ in arrays])
    are_whole = bare and len(raw) <= EVENT_BYTES_MAX and all(whole)
    if are_whole and (is_flat or not are_typed or _come_back(read, kinds, raw, bare)):
        return Body(text, kinds)
    # Each event opens its array, and most their payload: only the rest can make one deep.
    open_one = len(kinds) if are_typed else sum(one[1].__class__ in (dict, list) for one in arrays)
    opened = len(kinds) + open_one
    deep = raw.count(b"[") + objects - opened > DEPTH_MAX and not _are_flat(raw)
    if (
        deep
        or len(raw) > EVENT_BYTES_MAX
        or not (bare or _are_as_given(read, arrays))
        or (b"N" in raw and b"NaN" in raw)  # One byte is found sooner than three.
        or b"nfinity" in raw
        or (b"null" in raw and not _hide_nothing(read, arrays))
        or not (is_flat or _come_back(read, kinds, raw, bare) or _have_text_keys(arrays))
    ):
        return encode_one_by_one(events, registry, repeatable=repeatable)
    return Body(text, kinds, None if bare else occurred_of(read))


def span_of(occurred: Occurred | None, recorded_at: int, clock_at: int | None = None) -> Span:
    """The earliest and latest ``occurred_at`` of an append recorded at a moment, as rows say it."""
    now = recorded_at if clock_at is None else clock_at
    if occurred is None:
        return (None, None) if clock_at is None else (now, now)
    if occurred.whole:
        return occurred.first, occurred.last
    return min(occurred.first, now), max(occurred.last, now)


def row_of(
    body: Body,
    *,
    position: int,
    stream: str,
    version: int,
    recorded_at: int,
    metadata: str | None = None,
) -> Row:
    """The row of a body at its place."""
    span = span_of(body.occurred, recorded_at)
    count = len(body.kinds)
    return Row(position, stream, version, count, recorded_at, metadata, body.text, *span)


def encode_metadata(metadata: Mapping[str, Any] | None) -> str | None:
    """The JSON text of an append's shared metadata; nothing for an empty one."""
    if not metadata:
        return None
    if _is_plain(metadata):
        raw = encoded(metadata)
        if len(raw) <= EVENT_BYTES_MAX:
            return raw.decode()
    if not isinstance(metadata, Mapping):
        raise InvalidEvent(f"metadata must be a mapping, not {type(metadata).__name__}")
    raw = encode_payload(with_sorted_sets(dict(metadata)), what="metadata")
    read_back(msgspec.Raw(raw))
    return raw.decode()


def copied(recorded: Recorded) -> Event:
    """A recorded event as one to append again, its bytes and times unchanged.

    Its metadata says which event it was, unless that was never stored.
    """
    stored = recorded.position > 0
    return Event(
        recorded.stored_kind.tag,
        msgspec.Raw(recorded.raw),
        metadata={**recorded.metadata, **({"copied_from": recorded.origin_id} if stored else {})},
        occurred_at=recorded.occurred_at_us,
    )


def _check_list(events: object) -> None:
    if not isinstance(events, Sequence) or isinstance(events, str | bytes):
        raise InvalidEvent(f"events must be a list of events, not {type(events).__name__}")
    if not events:
        raise InvalidEvent("an append needs at least one event")
    if len(events) > EVENTS_PER_APPEND_MAX:
        raise InvalidEvent(
            f"{len(events)} events in one append, over {EVENTS_PER_APPEND_MAX}: split them"
        )


def _bare(event: Any, tags: Mapping[type, str]) -> Any:
    """The typed event that an :class:`Event` holds and says nothing of, which is the same."""
    is_bare = event.__class__ is Event and event.type == "" and event.data.__class__ in tags
    return event.data if is_bare and event.occurred_at is event.metadata is None else event


def _array_of(event: object, registry: Registry) -> tuple[Any, ...]:
    """What an event is stored as; its payload and metadata are still to be encoded."""
    if not isinstance(event, Event):
        return registry.kind_of(event).tag, plain(event)
    data, at, metadata = event.data, event.occurred_at, event.metadata
    tag = registry.kind_of(data).tag if event.type == "" else checked_tag(event.type, event.schema)
    data = data if data.__class__ is dict else plain(data)
    if at is not None:
        at = to_us(at)
        if at < 0 and "copied_from" not in (metadata or ()):  # What is stored may be copied.
            recordable(at, what="occurred_at")
    if not metadata:
        return (tag, data) if at is None else (tag, data, at)
    if not isinstance(metadata, Mapping):
        raise InvalidEvent(f"metadata must be a mapping, not {type(metadata).__name__}")
    return tag, data, at, dict(metadata)


def _is_plain(data: Any) -> bool:
    """Whether it is text, whole numbers and booleans by name: in them nothing can hide."""
    is_plain = data.__class__ is dict and _PLAIN.issuperset(map(type, data.values()))
    return is_plain and {str}.issuperset(map(type, data))


def _are_as_given(read: Sequence[Any], arrays: Sequence[tuple[Any, ...]]) -> bool:
    """Whether events say of themselves what they were given: a ``msgspec.Raw`` may say more."""
    given = [(array[2] if array[2:] else None, len(array) > 3) for array in arrays]
    return [(event.occurred_at, event.metadata is not ABSENT) for event in read] == given


def _hide_nothing(read: Sequence[Any], arrays: Sequence[tuple[Any, ...]]) -> bool:
    """Whether no null stands for a number that JSON has not: MessagePack tells them apart."""
    back = [
        (event.data,) if event.metadata is ABSENT else (event.data, _decode(event.metadata))
        for event in read
    ]
    try:
        return _pack([array[1::2] for array in arrays]) == _pack(back)
    except UNENCODABLE:
        return False


def _come_back(read: Sequence[Any], kinds: Sequence[str], raw: bytes, bare: bool) -> bool:
    """Whether what was read makes the same text again: then no key or digit of it was lost."""
    if bare:
        again = [(kind, event.data) for kind, event in zip(kinds, read, strict=True)]
    else:
        again = [_as_stored(kind, event) for kind, event in zip(kinds, read, strict=True)]
    return encode_unchecked(again) == raw


def _as_stored(kind: str, event: Any) -> tuple[Any, ...]:
    if event.metadata is not ABSENT:
        return kind, event.data, event.occurred_at, _decode(event.metadata)
    return (kind, event.data, *(() if event.occurred_at is None else (event.occurred_at,)))


def _have_text_keys(arrays: Sequence[tuple[Any, ...]]) -> bool:
    """Whether no key of payloads or metadata is anything but text."""
    leaves = (leaf for array in arrays for part in array[1::2] for _, leaf in walk(part))
    return all(key.__class__ is str for leaf in leaves if isinstance(leaf, dict) for key in leaf)


def _are_flat(raw: bytes) -> bool:
    """Whether no payload or metadata of an encoded body nests too deep."""
    return not any(
        may_be_deep(bytes(part))
        for event in decode_body(raw)
        for part in (event.data, event.metadata)
    )


def occurred_of(events: Sequence[Any]) -> Occurred | None:
    """What events, as they are read from a body, say of their time."""
    times = [event.occurred_at for event in events if event.occurred_at is not None]
    return Occurred(min(times), max(times), len(times) == len(events)) if times else None


def encode_one_by_one(
    events: Sequence[object], registry: Registry, *, repeatable: bool = False, are_old: bool = False
) -> Body:
    """The same, or which event cannot be stored, where, and why.

    Where they ``are_old``, as an older program recorded them, they need fit nothing of today.
    """
    _check_list(events)
    kinds: list[str] = []
    parts: list[bytes] = []
    read: list[StoredEvent] = []
    for index, event in enumerate(events):
        try:
            array = _array_of(event, registry)
            parts.append(_encoded(array))
            read += _read_as_given(parts[-1], array)
            # A copy of a stored event stays as it is.
            is_copy = isinstance(event, Event) and isinstance(event.data, msgspec.Raw)
            if not (are_old or is_copy):
                registry.check_in_use(array[0])
                _check_fit(array[0], parts[-1], registry)
        except InvalidEvent as error:
            facts = {**error.facts, "index": index}
            reason = facts.pop("reason")
            raise InvalidEvent(f"event {index}: {reason}", **facts) from error.__cause__
        kinds.append(array[0])
    ordered = with_sorted_sets(list(events)) if repeatable else events
    if any(map(is_not, ordered, events)):
        return encode_one_by_one(ordered, registry)
    raw = b"[" + b",".join(parts) + b"]"
    if len(raw) > APPEND_BYTES_MAX:
        raise InvalidEvent(f"an append of {len(raw)} bytes, over {APPEND_BYTES_MAX}: split it")
    return Body(raw.decode(), tuple(kinds), occurred_of(read))


def _encoded(array: tuple[Any, ...]) -> bytes:
    tag, data, *rest = array
    parts = [encode_unchecked(tag), encode_payload(data), *map(encode_unchecked, rest[:1])]
    parts += [encode_payload(metadata, what="metadata") for metadata in rest[1:]]
    return b"[" + b",".join(parts) + b"]"


def _read_as_given(part: bytes, array: tuple[Any, ...]) -> list[StoredEvent]:
    """An encoded event as it will be read, refused where a ``msgspec.Raw`` says something else."""
    try:
        read = decode_body(f"[{part.decode()}]")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidEvent(f"a msgspec.Raw of it is not JSON: {error}") from error
    if not _are_as_given(read, [array]):
        raise InvalidEvent("a msgspec.Raw of it is more than one JSON value")
    return read


def _check_fit(tag: str, part: bytes, registry: Registry) -> None:
    """Refuse an event that its class could not read."""
    found = misfit(b"[" + part + b"]", registry)
    if found is not None:
        advice = ""
        if found.reason == "Expected `str`, got `object`":
            advice = ": give text, such as json.dumps(…) of it"
        raise InvalidEvent(f"it is no {tag!r}: {found.reason}{advice}", path=found.path)
