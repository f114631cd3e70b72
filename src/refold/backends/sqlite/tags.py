"""Appends by their tags, and whether one that matches a query stands after a position.

The log is the truth, packed or not; the index of tags is made of it, by a trigger as appends come.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import apsw
import msgspec

from refold.backends.sqlite.compression import Frames, read_again
from refold.backends.sqlite.file import rows_of, shaped
from refold.backends.sqlite.queries import LAST_POSITION
from refold.backends.sqlite.unpacked import shown
from refold.backends.transaction import transacted
from refold.core.event import Kind
from refold.core.query import QueryItem
from refold.core.stored import Row, corrupt, decode_body
from refold.errors import Corrupt

ALL_TYPES: Final = -1

_TAGGED: Final = """
FROM tags WHERE tags.tag = ?1 AND last_position > ?2 AND tags.types & ?3 != 0 {others}"""
_OTHER: Final = """
AND EXISTS (SELECT 1 FROM tags AS other
    WHERE other.tag = ?{place} AND other.last_position = tags.last_position)"""
_APPENDS: Final = """
SELECT name, hot.position, hot.version, hot.count, hot.recorded_at, hot.occurred_from,
    hot.occurred_to, hot.clock_at, hot.metadata, hot.body, tagged.stream, tagged.version
FROM (SELECT * {tagged} ORDER BY last_position LIMIT {limit}) AS tagged
LEFT JOIN streams ON streams.id = tagged.stream
LEFT JOIN log AS hot ON hot.position = tagged.last_position - tagged.count + 1
ORDER BY tagged.last_position"""
"""The columns of an append are NULL where it has been packed."""
SEGMENT_OF: Final = """
SELECT name, position, version, count, recorded_at, occurred_from, occurred_to, frame, dictionary,
    body_bytes
FROM segments LEFT JOIN streams ON streams.id = segments.stream
WHERE stream = ?1 AND version <= ?2 ORDER BY version DESC LIMIT 1"""

_SEGMENT_TYPES: Final = (str, int, int, int, int, int, int, bytes, int | None, int)

_HAS_TYPE: Final = """
EXISTS (SELECT 1 FROM json_each(hot.body) AS event
    WHERE hot.position + event.key > ?2
    AND event.value ->> 0 IN (SELECT value FROM json_each(?4)))"""
_FOUND_TAGGED: Final = f"""
SELECT last_position FROM (SELECT * {{tagged}}) AS tagged
LEFT JOIN log AS hot ON hot.position = tagged.last_position - tagged.count + 1
WHERE ?4 IS NULL OR {_HAS_TYPE} LIMIT 1"""
_PACKED_TAGGED: Final = """
SELECT stream, version, count FROM (SELECT * {tagged}) AS tagged
WHERE NOT EXISTS (SELECT 1 FROM log WHERE position = tagged.last_position - tagged.count + 1)"""
_FOUND_TYPED: Final = f"""
SELECT hot.position + hot.count - 1 FROM log AS hot
JOIN streams ON streams.id = hot.stream AND category NOT LIKE '%~'
WHERE hot.position >= ifnull((SELECT max(position) FROM log WHERE position <= ?2 + 1), 1)
    AND hot.position + hot.count - 1 > ?2 AND hot.types & ?3 != 0 AND {_HAS_TYPE} LIMIT 1"""
_PACKED_TYPED: Final = """
SELECT stream, version, count FROM segments
JOIN streams ON streams.id = segments.stream AND category NOT LIKE '%~'
WHERE last_position > ?2 AND segments.types & ?3 != 0"""


def appends(
    connection: apsw.Connection, item: QueryItem, mask: int, *, after: int, rows_max: int
) -> list[tuple[Any, ...]]:
    """The appends with all the tags of an item; see :data:`_APPENDS`."""
    limit = f"?{3 + len(item.tags)}"
    sql = _APPENDS.format(tagged=_tagged(item, first_place=4), limit=limit)
    after = min(max(after, 0), LAST_POSITION)
    return rows_of(connection, sql, item.tags[0], after, mask, *item.tags[1:], rows_max)


def found_after(
    connection: apsw.Connection,
    frames: Frames,
    types: Mapping[str, int],
    after: int,
    item: QueryItem,
) -> int | None:
    """The last position of an append that holds an event of a part of a query after a position.

    ``types`` holds the number of every stored kind.
    """
    after = min(after, LAST_POSITION)
    wanted = [kind for kind in types if Kind.parse(kind).type in item.types]
    mask = mask_of([types[kind] for kind in wanted]) if item.types else ALL_TYPES
    named = json.dumps(wanted) if item.types else None
    values = (*item.tags[:1], after, mask) if item.tags else (None, after, mask)
    tagged, others = _tagged(item, first_place=5), item.tags[1:]
    sql = _FOUND_TAGGED.format(tagged=tagged) if item.tags else _FOUND_TYPED
    found = shaped(rows_of(connection, sql, *values, named, *others), int)
    if found or not item.types:
        return int(found[0][0]) if found else None
    # After what is hot: what is packed between the two is then found here.
    tagged = _tagged(item, first_place=4)
    sql = _PACKED_TAGGED.format(tagged=tagged) if item.tags else _PACKED_TYPED
    with closing(connection.execute(sql, (*values, *others))) as packed:
        for row in packed:
            ((stream, version, count),) = shaped([row], int, int, int)
            for part in parts_at(connection, frames, stream, version):
                within = version <= part.version < version + count
                if within and _holds(part, wanted, after=after):
                    return part.position + part.event_count - 1
    return None


@read_again
def parts_at(connection: apsw.Connection, frames: Frames, stream: int, version: int) -> list[Row]:
    """The appends of the segment of a stream that holds a version."""
    for values in shaped(rows_of(connection, SEGMENT_OF, stream, version), *_SEGMENT_TYPES):
        return frames.unpacked(*values).appends()
    return []


def packed_append(
    segments: dict[int, list[Row]],
    look: Callable[[int, int], list[Row] | None],
    stream: int,
    version: int,
) -> Row:
    """An append that begins at a version, out of its segment; ``segments`` keeps the last."""
    if all(row.version != version for row in segments.get(stream, ())):
        segments[stream] = look(stream, version) or []
    for row in segments[stream]:
        if row.version == version:
            return row
    raise Corrupt(
        f"version {version} of stream number {stream} has tags but no events; run `refold doctor`",
        version=version,
    )


def _holds(append: Row, kinds: Sequence[str], *, after: int) -> bool:
    """Whether an append holds an event of certain kinds after a position."""
    try:
        events = decode_body(append.body)[max(after + 1 - append.position, 0) :]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise corrupt(append, str(error)) from error
    return any(stored.tag in kinds for stored in events)


def mask_of(numbers: Sequence[int]) -> int:
    """The bits of types by their numbers, as ``log.types`` has them."""
    mask = 0
    for number in numbers:
        if number < 0:
            raise Corrupt(f"a type has the number {number}; run `refold doctor`")
        mask |= 1 << min(number, OTHER_TYPES_BIT)
    return mask


OTHER_TYPES_BIT: Final = 62
"""Shared by all the types for which there was no bit left."""


def _tagged(item: QueryItem, *, first_place: int) -> str:
    places = range(first_place, first_place + len(item.tags[1:]))
    return _TAGGED.format(others="".join(_OTHER.format(place=place) for place in places))


def remade(connection: apsw.Connection, frames: Frames) -> int:
    """Make the index anew, all at once; how many tags of appends it holds now."""
    shown(connection, frames)
    return transacted(connection, _remade, connection)


def _remade(connection: apsw.Connection) -> int:
    connection.execute("DELETE FROM tags")
    connection.execute("INSERT INTO tags SELECT * FROM refold_tags")
    return connection.changes()
