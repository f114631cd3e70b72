"""Appends as a backend keeps them, and the events in them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, chain, islice
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.clock import EARLIEST_US, LATEST_US
from refold.core.event import Kind
from refold.core.recorded import Recorded
from refold.core.registry import Registry
from refold.errors import Corrupt

SEPARATOR: Final = "\x1e"
"""Stands between joined bodies: a character that JSON text cannot hold, in strings or outside."""


class Part(msgspec.Struct, array_like=True, frozen=True):
    """One append of a row that holds several.

    ``metadata`` is its JSON text, empty or null for none. ``occurred_from`` and ``occurred_to``
    are the earliest and latest ``occurred_at`` in it, None where they are ``recorded_at``.
    """

    position: int
    event_count: int
    recorded_at: int
    metadata: msgspec.Raw = msgspec.Raw(b"")
    occurred_from: int | None = None
    occurred_to: int | None = None

    def span(self) -> tuple[int, int]:
        """The earliest and latest ``occurred_at`` of its events."""
        if self.occurred_from is None or self.occurred_to is None:
            return self.recorded_at, self.recorded_at
        return self.occurred_from, self.occurred_to


class Row(NamedTuple):
    """Appends as a backend keeps them: events of one stream with versions side by side.

    Usually one append: ``position`` and ``version`` are those of its first event, ``recorded_at``
    is in microseconds, ``metadata`` and ``body`` are JSON text, as ``str`` or UTF-8. A packed row
    holds several appends: ``body`` joins their events, and ``packed_parts`` is a JSON array with
    each one's :class:`Part`; then ``metadata`` is not used. With ``joined``, ``body`` is the bodies
    of its appends with ``SEPARATOR`` between them instead; without ``packed_parts`` nothing else
    is known of these (it is bare), and ``position`` is what makes that of the last event right.
    ``occurred_from`` and ``occurred_to`` are the earliest and latest ``occurred_at`` of its
    events, None where all are ``recorded_at``.
    """

    position: int
    stream: str
    version: int
    event_count: int
    recorded_at: int
    metadata: str | bytes | None
    body: str | bytes
    occurred_from: int | None = None
    occurred_to: int | None = None
    packed_parts: bytes | None = None
    joined: bool = False

    @property
    def last_version(self) -> int:
        """The version of its last event."""
        return self.version + self.event_count - 1

    def span(self) -> tuple[int, int]:
        """The earliest and latest ``occurred_at`` of its events."""
        if self.occurred_from is None or self.occurred_to is None:
            # The clock of the log never goes back, so the last of its appends came last.
            return self.recorded_at, self.parts()[-1].recorded_at
        if self.joined:  # Only some of its appends may say when they occurred.
            spans = [part.span() for part in self.parts()]
            return min(spans)[0], max(latest for _, latest in spans)
        return self.occurred_from, self.occurred_to

    def spans(self, *, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The spans of its appends that begin at versions ``first`` to ``last``.

        Where that is all of them and they have no times of their own, their span as a whole.
        """
        if self.occurred_from is None and first <= self.version and last >= self.last_version:
            yield self.span()
            return
        begins = self.version
        for part in self.parts():
            if first <= begins <= last:
                yield part.span()
            begins += part.event_count

    def bodies(self) -> Iterator[str | bytes]:
        """The array of events of each of its appends, in order; of a packed row, one of all."""
        body: Any = self.body
        separator = SEPARATOR if isinstance(body, str) else SEPARATOR.encode()
        start = 0
        if self.joined:
            while (end := body.find(separator, start)) >= 0:
                yield body[start:end]
                start = end + 1
        yield body[start:]

    def parts(self) -> list[Part]:
        """Its appends, in order."""
        if self.packed_parts is not None:
            try:
                return _decode_parts(self.packed_parts)
            except msgspec.DecodeError as error:
                raise corrupt(self, str(error)) from error
        metadata = self.metadata or b""
        raw = metadata.encode() if isinstance(metadata, str) else metadata
        times = (self.occurred_from, self.occurred_to)
        return [Part(self.position, self.event_count, self.recorded_at, msgspec.Raw(raw), *times)]

    def begins(self, version: int) -> bool:
        """Whether one of its appends begins at a version."""
        counts = [part.event_count for part in self.parts()]
        return version - self.version in accumulate(counts, initial=0)

    def position_of(self, version: int) -> int:
        """The position of one of its events."""
        index = version - self.version
        if self.packed_parts is None:
            return self.position + index
        for part in self.parts():
            if index < part.event_count:
                return part.position + index
            index -= part.event_count
        raise corrupt(self, f"version {version} is not in it")


ABSENT: Final = msgspec.Raw(b"")
"""The metadata of a stored event that has none."""


class StoredEvent(msgspec.Struct, array_like=True, frozen=True):
    """One element of a body; the payload is kept as the bytes it is stored as."""

    tag: str
    data: msgspec.Raw
    occurred_at: int | None = None
    metadata: msgspec.Raw = ABSENT


decode_body = msgspec.json.Decoder(list[StoredEvent]).decode
_decode_parts = msgspec.json.Decoder(list[Part]).decode


def decode_row(row: Row, registry: Registry) -> list[Recorded]:
    """The events of a stored row; :class:`Corrupt` when its bytes are not what it says."""
    try:
        stored = list(chain.from_iterable(map(decode_body, row.bodies())))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise corrupt(row, str(error)) from error
    parts = row.parts()
    for part in parts:
        _check_time(part.recorded_at, row)
    if not len(stored) == row.event_count == sum(part.event_count for part in parts):
        raise corrupt(row, f"it holds {len(stored)} events where {row.event_count} were recorded")
    events = enumerate(stored, row.version)
    return [
        _recorded(row, version, part, index, event, shared, registry)
        for part in parts
        for shared in (text_or_none(part.metadata),)
        for index, (version, event) in enumerate(islice(events, part.event_count))
    ]


def text_or_none(raw: msgspec.Raw) -> bytes | None:
    """The JSON text of an optional value; None where there is none."""
    text = bytes(raw)
    return None if text in (b"", b"null") else text


def corrupt(row: Row, why: str) -> Corrupt:
    """The error for a row that cannot be what was stored."""
    return Corrupt(
        f"the append at position {row.position} ({row.stream}@{row.version}) cannot be read: "
        f"{why}; run `refold doctor`",
        position=row.position,
        stream=row.stream,
        version=row.version,
    )


def _check_time(us: int, row: Row) -> None:
    if not EARLIEST_US <= us <= LATEST_US:
        raise corrupt(row, f"{us} microseconds is outside the years 1 to 9999")


def _recorded(
    row: Row,
    version: int,
    part: Part,
    index: int,
    event: StoredEvent,
    shared_metadata: bytes | None,
    registry: Registry,
) -> Recorded:
    own_metadata, occurred_at = event.metadata, event.occurred_at
    if occurred_at is None:
        occurred_at = part.recorded_at
    else:
        _check_time(occurred_at, row)
    return Recorded(
        position=part.position + index,
        stream=row.stream,
        version=version,
        stored_kind=_kind_of(event.tag),
        occurred_at_us=occurred_at,
        recorded_at_us=part.recorded_at,
        raw=bytes(event.data),
        shared_metadata=shared_metadata,
        own_metadata=None if own_metadata is ABSENT else text_or_none(own_metadata),
        registry=registry,
    )


_kind_of = lru_cache(maxsize=4096)(Kind.parse)
