"""Several appends of a stream as one: what compaction stores, and how it is taken apart again.

The text of a segment is the joined events (a JSON array) followed by the parts (another), so that
a fold decodes the first and never looks at the second. Every append comes back byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from refold.core.codec import Part, Row

_encode = msgspec.json.Encoder().encode
_split_events = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Segment(NamedTuple):
    """Joined appends: ``text`` holds ``body_bytes`` of events, then the parts."""

    stream: str
    position: int
    last_position: int
    version: int
    event_count: int
    recorded_at: int
    last_recorded_at: int
    body_bytes: int
    text: bytes


def joined(rows: Sequence[Row]) -> Segment:
    """Rows of one stream, side by side, as one segment."""
    parts = [part for row in rows for part in row.parts()]
    body = b"[" + b",".join(_utf8(row.body)[1:-1] for row in rows) + b"]"
    first, last = parts[0], parts[-1]
    return Segment(
        stream=rows[0].stream,
        position=first.position,
        last_position=last.position + last.event_count - 1,
        version=rows[0].version,
        event_count=sum(row.event_count for row in rows),
        recorded_at=first.recorded_at,
        last_recorded_at=last.recorded_at,
        body_bytes=len(body),
        text=body + _encode([_trimmed(part) for part in parts]),
    )


def row_of(segment: Segment) -> Row:
    """A segment as one row of several appends."""
    return Row(
        segment.position,
        segment.stream,
        segment.version,
        segment.event_count,
        segment.recorded_at,
        None,
        segment.text[: segment.body_bytes],
        segment.text[segment.body_bytes :],
    )


def split(row: Row) -> list[Row]:
    """The appends of a row, each a row of its own with the bytes it was stored with."""
    if row.packed_parts is None:
        return [row]
    events = _split_events(row.body)
    rows: list[Row] = []
    version = row.version
    for part in row.parts():
        index = version - row.version
        body = b",".join(events[index : index + part.event_count])
        rows.append(
            Row(
                part.position,
                row.stream,
                version,
                part.event_count,
                part.recorded_at,
                bytes(part.metadata) or None,
                b"[" + body + b"]",
            )
        )
        version += part.event_count
    return rows


def _trimmed(part: Part) -> Sequence[object]:
    bare = (part.position, part.event_count, part.recorded_at)
    return (*bare, part.metadata) if bytes(part.metadata) else bare


def _utf8(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
