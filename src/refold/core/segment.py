"""Several appends of a stream as one: what compaction stores, and how it is taken apart again.

The text of a segment is the joined events (a JSON array) followed by the parts (another), so that
a fold decodes the first and never looks at the second. Every append comes back byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from refold.core.row import Part, Row, corrupt, text_or_none

_encode = msgspec.json.Encoder().encode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Segment(NamedTuple):
    """Joined appends: ``text`` holds ``body_bytes`` of events, then the parts."""

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
        occurred_from=min(row.span()[0] for row in rows),
        occurred_to=max(row.span()[1] for row in rows),
        body_bytes=len(body),
        text=body + _encode([_trimmed(part) for part in parts]),
    )


def split(row: Row) -> list[Row]:
    """The appends of a row, each a row of its own with the bytes it was stored with.

    :class:`~refold.errors.Corrupt` when its bytes are not what it says.
    """
    if row.packed_parts is None:
        return [row]
    raws = _elements(row)
    rows: list[Row] = []
    version = row.version
    for part in row.parts():
        if row.joined:
            body = bytes(raws[len(rows)])
        else:
            index = version - row.version
            body = b"[" + b",".join(raws[index : index + part.event_count]) + b"]"
        rows.append(
            Row(
                part.position,
                row.stream,
                version,
                part.event_count,
                part.recorded_at,
                text_or_none(part.metadata),
                body,
                part.occurred_from,
                part.occurred_to,
            )
        )
        version += part.event_count
    return rows


def _elements(row: Row) -> list[msgspec.Raw]:
    """The events of a row, or their arrays where it is joined of these."""
    try:
        raws = _split(row.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise corrupt(row, str(error)) from error
    due = len(row.parts()) if row.joined else sum(part.event_count for part in row.parts())
    if len(raws) != due:
        raise corrupt(row, f"it holds {len(raws)} of what should be {due}")
    return raws


def _trimmed(part: Part) -> Sequence[object]:
    """A part without what is absent at its end."""
    bare = (part.position, part.event_count, part.recorded_at)
    metadata = part.metadata if text_or_none(part.metadata) else None
    if part.occurred_from is not None:
        return (*bare, metadata, part.occurred_from, part.occurred_to)
    return bare if metadata is None else (*bare, metadata)


def _utf8(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
