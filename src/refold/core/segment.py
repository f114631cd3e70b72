"""Several appends of a stream as one: what compaction stores, and how it is taken apart again.

The text of a segment is the joined events (a JSON array) followed by the parts (another), so that
a fold decodes the first and never looks at the second. Every append comes back byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
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
    rows: list[Row] = []
    version = row.version
    for part, body in zip(row.parts(), _bodies(row), strict=True):
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


def _bodies(row: Row) -> list[str | bytes]:
    """The body of each append of a row."""
    counts = [part.event_count for part in row.parts()]
    if row.joined:
        bodies = list(row.bodies())
        _check_count(row, len(bodies), len(counts))
        return bodies
    try:
        events = iter(raws := _split(row.body))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise corrupt(row, str(error)) from error
    _check_count(row, len(raws), sum(counts))
    return [b"[" + b",".join(islice(events, count)) + b"]" for count in counts]


def _check_count(row: Row, found: int, due: int) -> None:
    if found != due:
        raise corrupt(row, f"it holds {found} of what should be {due}")


def _trimmed(part: Part) -> Sequence[object]:
    """A part without what is absent at its end."""
    bare = (part.position, part.event_count, part.recorded_at)
    metadata = part.metadata if text_or_none(part.metadata) else None
    if part.occurred_from is not None:
        return (*bare, metadata, part.occurred_from, part.occurred_to)
    return bare if metadata is None else (*bare, metadata)


def _utf8(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
