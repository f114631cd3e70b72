"""Appends as a backend keeps them: one in a row, several in a page or a packed segment.

The text of a segment is the joined events (a JSON array) followed by the parts (another), so that
a fold decodes the first and never looks at the second. Every append comes back byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from refold.core.clock import EARLIEST_US, LATEST_US
from refold.core.event import Kind
from refold.errors import Corrupt

SEPARATOR: Final = b"\x1e"
"""Stands between joined bodies: a character that JSON text cannot hold, in strings or outside."""
PIECE_BYTES: Final = 16_384
"""About so much of joined bodies is decoded at once: a call an append would cost more, and the
events of many take more memory than the processor has at hand."""
OccurredAt = Annotated[int, msgspec.Meta(ge=EARLIEST_US, le=LATEST_US)] | None
"""When a stored event happened, in microseconds UTC; None: when its append was recorded."""
ABSENT: Final = msgspec.Raw(b"")
"""The metadata of a stored event that has none."""


class StoredEvent(msgspec.Struct, array_like=True, frozen=True):
    """One element of a body; the payload is kept as the bytes it is stored as."""

    tag: str
    data: msgspec.Raw
    occurred_at: OccurredAt = None
    metadata: msgspec.Raw = ABSENT

    @property
    def kind(self) -> Kind:
        """The type and schema it was written under."""
        return _kind_of(self.tag)


class Part(msgspec.Struct, array_like=True, frozen=True):
    """What a row of several appends says of one.

    ``metadata`` is its JSON text, empty or null for none. ``occurred_from`` and ``occurred_to``
    are the earliest and latest ``occurred_at`` in it, None where they are ``recorded_at``.
    ``clock_at`` is what the clock said where it stood behind ``recorded_at``.
    """

    position: int
    event_count: int
    recorded_at: int
    metadata: msgspec.Raw = ABSENT
    occurred_from: int | None = None
    occurred_to: int | None = None
    clock_at: int | None = None

    @property
    def now(self) -> int:
        """What the clock said: when those of its events occurred that do not say it themselves."""
        return self.recorded_at if self.clock_at is None else self.clock_at

    def span(self) -> tuple[int, int]:
        """The earliest and latest ``occurred_at`` of its events."""
        if self.occurred_from is None or self.occurred_to is None:
            return self.recorded_at, self.recorded_at
        return self.occurred_from, self.occurred_to


_kind_of = lru_cache(maxsize=4096)(Kind.parse)
decode_body = msgspec.json.Decoder(list[StoredEvent]).decode
# A run of a fold asks a row for its parts more than once.
_decode_parts = lru_cache(maxsize=1)(msgspec.json.Decoder(list[Part]).decode)
_decode_events = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


class Row(NamedTuple):
    """Appends as a backend keeps them: events of one stream with versions side by side.

    Usually one append: ``position`` and ``version`` are those of its first event, ``recorded_at``
    is in microseconds, ``metadata`` and ``body`` are JSON text, as ``str`` or UTF-8. A packed row
    holds several appends: ``body`` joins their events, and ``packed_parts`` is a JSON array with
    each one's :class:`Part`; then ``metadata`` is not used. With ``joined``, ``body`` is the bodies
    of its appends with ``SEPARATOR`` between them instead. ``occurred_from`` and ``occurred_to``
    are the earliest and latest ``occurred_at`` of its events, None where all are ``recorded_at``.
    ``clock_at`` is what the clock said of a single append, where it stood behind ``recorded_at``.
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
    clock_at: int | None = None
    packed_parts: bytes | None = None
    joined: bool = False

    @property
    def last_version(self) -> int:
        """The version of its last event."""
        return self.version + self.event_count - 1

    def span(self) -> tuple[int, int]:
        """The earliest and latest ``occurred_at`` of its events."""
        if self.occurred_from is not None and self.occurred_to is not None:
            return self.occurred_from, self.occurred_to
        spans = [part.span() for part in self.parts()]
        return min(spans)[0], max(latest for _, latest in spans)

    def spans(self, *, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The spans of its appends that begin at versions ``first`` to ``last``."""
        begins = self.version
        for part in self.parts():
            if first <= begins <= last:
                yield part.span()
            begins += part.event_count

    def pieces(self) -> Iterator[bytes]:
        """Its bodies in JSON arrays, in order: one, or of joined appends some at a time."""
        body, start = self.body, 0
        if isinstance(body, str):
            body = body.encode()
        if self.joined:
            while (end := body.find(SEPARATOR, start + PIECE_BYTES)) >= 0:
                yield b"[%b]" % body[start:end].replace(SEPARATOR, b",")
                start = end + 1
            body = body[start:].replace(SEPARATOR, b",")
        yield b"[%b]" % body

    def parts(self) -> list[Part]:
        """What it says of each of its appends, in order."""
        if self.packed_parts is not None:
            try:
                return _decode_parts(self.packed_parts)
            except msgspec.DecodeError as error:
                raise corrupt(self, str(error)) from error
        metadata = self.metadata or b""
        raw = metadata.encode() if isinstance(metadata, str) else metadata
        times = (self.occurred_from, self.occurred_to, self.clock_at)
        return [Part(self.position, self.event_count, self.recorded_at, msgspec.Raw(raw), *times)]

    def appends(self) -> list[Row]:
        """Its appends, each a row of its own with the bytes it was stored with.

        :class:`~refold.errors.Corrupt` when its bytes are not what it says.
        """
        if self.packed_parts is None:
            return [self]
        parts = self.parts()
        _check_count(self, sum([part.event_count for part in parts]), self.event_count)
        stream, version, rows = self.stream, self.version, []
        for part, body in zip(parts, self._bodies(parts), strict=True):
            place = (part.position, stream, version, part.event_count, part.recorded_at)
            metadata = text_or_none(part.metadata)
            times = (part.occurred_from, part.occurred_to, part.clock_at)
            rows.append(Row(*place, metadata, body, *times))
            version += part.event_count
        return rows

    def _bodies(self, parts: Sequence[Part]) -> list[bytes]:
        """The body of each append of which there are several."""
        body = _utf8(self.body)
        if len(parts) == 1:
            return [body]
        if self.joined:
            bodies = body.split(SEPARATOR)
            _check_count(self, len(bodies), len(parts))
            return bodies
        try:
            events = _decode_events(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise corrupt(self, str(error)) from error
        _check_count(self, len(events), self.event_count)
        left = iter(events)
        return [_array(islice(left, part.event_count)) for part in parts]

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


class Segment(NamedTuple):
    """Joined appends, as stored: ``text`` holds ``body_bytes`` of events, then the parts."""

    stream: str
    position: int
    last_position: int
    version: int
    event_count: int
    recorded_at: int
    last_recorded_at: int
    occurred_from: int
    occurred_to: int
    body_bytes: int
    text: bytes


def joined(rows: Sequence[Row]) -> Segment:
    """Rows of one stream, side by side, as one segment."""
    parts = [part for row in rows for part in row.parts()]
    body = _array(_utf8(row.body)[1:-1] for row in rows)
    first, last = parts[0], parts[-1]
    return Segment(
        stream=rows[0].stream,
        position=first.position,
        last_position=last.position + last.event_count - 1,
        version=rows[0].version,
        event_count=sum(row.event_count for row in rows),
        recorded_at=first.recorded_at,
        last_recorded_at=last.recorded_at,
        occurred_from=min(row.span()[0] for row in rows),
        occurred_to=max(row.span()[1] for row in rows),
        body_bytes=len(body),
        text=body + _encode([_trimmed(part) for part in parts]),
    )


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


def _check_count(row: Row, found: int, due: int) -> None:
    if found != due:
        raise corrupt(row, f"it holds {found} of what should be {due}")


def _trimmed(part: Part) -> Sequence[object]:
    """A part without what is absent at its end."""
    bare = (part.position, part.event_count, part.recorded_at)
    metadata = part.metadata if text_or_none(part.metadata) else None
    if part.occurred_from is not None:
        clock = () if part.clock_at is None else (part.clock_at,)
        return (*bare, metadata, part.occurred_from, part.occurred_to, *clock)
    return bare if metadata is None else (*bare, metadata)


def _array(texts: Iterable[Any]) -> bytes:
    return b"[" + b",".join(texts) + b"]"


def _utf8(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
