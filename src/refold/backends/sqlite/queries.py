"""Reading rows, a page at a time: hot appends, and packed segments.

A page is so many rows, and no more bytes than a reader should have to hold. SQLite gives what a
damaged row says, of whatever type: what is not as it was written is refused.

A compaction that commits between two statements could hide an append: so what was not among the
appends is looked for among the segments after them, and the log is read by one statement. Its last
two columns, dictionary and body_bytes, are NULL for an append.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate, product
from operator import attrgetter
from typing import Any, Final

import apsw

from refold.backends.plan import row_key
from refold.backends.sqlite.compression import Frames
from refold.backends.sqlite.file import rows_of, shaped
from refold.core.encode import EVENTS_PER_APPEND_MAX
from refold.core.event import event_id
from refold.core.stored import SEPARATOR, Row
from refold.errors import Corrupt
from refold.ports import Appended, Fork, Kept, StreamInfo

PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A page of the log ends after the append with which it has come to so many bytes.

A page of a stream joins bodies in one value and metadata in another: neither is larger, but for
those of a single append.
"""
_WINDOW_POSITIONS_PER_ROW: Final = 8
"""Where segments interleave, a page is cut by positions: about so many for each row asked for."""
LAST_POSITION: Final = (1 << 63) - 1
_FEWER: Final = 8
"""A page that comes to too many bytes is asked for again with so many times fewer events."""
_TEXTS: Final = slice(8, 10)
"""Where metadata and body stand among the columns of the log."""
_JOINED_TYPES: Final = (int, int, int, int, int, bytes, bytes)
_MAYBE: Final = (int, type(None))
_PLACE: Final = [(str,), *[(int,)] * 4, *[_MAYBE] * 3]
_ROW_TYPES: Final = {
    *product(*_PLACE, (str, type(None)), (str,), _MAYBE, (type(None),)),
    *product(*_PLACE, (str, type(None)), (bytes,), _MAYBE, (int,)),
}
"""What the columns of an append may hold, and those of a segment."""

_OVERLAPPING: Final = """
WHERE stream = (SELECT id FROM streams WHERE name = ?1) AND version BETWEEN ifnull((
    SELECT max(version) FROM {table}
    WHERE stream = (SELECT id FROM streams WHERE name = ?1) AND version <= ?2
), ?2) AND ?3 AND version + count > ?2"""
_APPENDS: Final = """
SELECT min(position), min(version), sum(count), max(version + count), min(recorded_at),
    CAST(group_concat(body, char(30)) AS BLOB), CAST('[[' || group_concat(concat_ws(
        ',', position, count, recorded_at, ifnull(metadata, 'null'), occurred_from, occurred_to,
        clock_at
    ), '],[') || ']]' AS BLOB)
FROM log INDEXED BY log_version"""
_JOINED: Final = f"{_APPENDS} {_OVERLAPPING.format(table='log')}"
"""The appends that overlap versions ?2..?3 of the stream ?1, as one row.

A step of a query lets go of the interpreter, and a busy process takes its time to give it back: so
a page of appends is one step. They are joined in the order of the index, and given as UTF-8, which
is what a decoder takes.
"""
WHOLE: Final = f"""{_APPENDS}
WHERE stream = (SELECT id FROM streams WHERE name = ?1 AND parent IS NULL AND (
    SELECT version + count FROM log WHERE stream = streams.id ORDER BY version DESC LIMIT 1
) - 1 BETWEEN ?2 AND ?3)"""
"""All the appends of a stream that is no branch and ends at versions ?2..?3, in the same way."""
SEGMENTS: Final = f"""
SELECT position, version, count, recorded_at, occurred_from, occurred_to, NULL, NULL, frame,
    dictionary, body_bytes
FROM segments {_OVERLAPPING.format(table="segments")} ORDER BY version"""
"""The segments that overlap them."""

_FIRST_HOLE: Final = """
SELECT version + count FROM log AS before
WHERE stream = (SELECT id FROM streams WHERE name = ?1) AND version >= ?2 AND NOT EXISTS (
    SELECT 1 FROM log WHERE stream = before.stream AND version = before.version + before.count
) ORDER BY version LIMIT 1"""

LOG_ROWS: Final = """
SELECT name, position, version, count, recorded_at, occurred_from, occurred_to, clock_at, metadata,
    body, NULL, NULL
FROM log LEFT JOIN streams ON streams.id = log.stream
WHERE position >= ifnull((SELECT max(position) FROM log WHERE position <= ?1 + 1), 1)
    AND position + count - 1 > ?1 AND position <= ?2 {narrowed}
UNION ALL
SELECT name, position, version, count, recorded_at, occurred_from, occurred_to, NULL, NULL,
    frame, dictionary, body_bytes
FROM segments LEFT JOIN streams ON streams.id = segments.stream
WHERE last_position > ?1 AND position <= ?2 {narrowed}
ORDER BY position LIMIT ?3"""
"""A row whose stream is missing comes without a name, so that it is not passed over."""

STREAM: Final = """
SELECT name, parent, fork_version,
    ifnull((
        SELECT version + count - 1 FROM log WHERE stream = streams.id ORDER BY version DESC LIMIT 1
    ), packed_version),
    ifnull((
        SELECT recorded_at FROM log WHERE stream = streams.id ORDER BY version DESC LIMIT 1
    ), packed_at)
FROM streams WHERE {wanted}"""
_HEAD: Final = STREAM.format(wanted="name = ?")

LAST_ROW: Final = "SELECT position, count, recorded_at FROM log ORDER BY position DESC LIMIT 1"
LOG_HEAD: Final = "SELECT position + count - 1 FROM log ORDER BY position DESC LIMIT 1"
PACKED_AFTER: Final = "SELECT 1 FROM segments WHERE last_position > ? LIMIT 1"
TYPE_BITS: Final = """ifnull((
    SELECT sum(DISTINCT 1 << min(types.id, 62)) FROM json_each({names}) AS wanted CROSS JOIN types
    WHERE tag = wanted.value OR substr(tag, 1, length(wanted.value) + 2) = wanted.value || '.v'
), 0)"""
_BY_KEY: Final = """
SELECT name, position, version, count, recorded_at, digest
FROM log JOIN streams ON streams.id = stream WHERE key = ?1
UNION ALL
SELECT name, position, version, count, recorded_at, digest
FROM keys JOIN streams ON streams.id = stream WHERE key = ?1"""


def joined_page(
    connection: apsw.Connection,
    stream: str,
    first: int,
    last: int,
    backward: bool = False,
    *,
    sql: str = _JOINED,
) -> Row | None:
    """The appends of a stream that overlap two versions as one row; None where there are none.

    Where they are too large to be joined they are fewer, from ``first`` on, or up to ``last``.
    """
    # A single append may be larger: -1 leaves the limit as it is.
    before = connection.limit(apsw.SQLITE_LIMIT_LENGTH, PAGE_BYTES_MAX if first < last else -1)
    try:
        values = connection.execute(sql, (stream, first, last)).get
    except apsw.TooBigError:
        if first == last:
            raise
        values = None
    finally:
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, before)
    if values is None:
        fewer = (last - first) // _FEWER
        first, last = (last - fewer, last) if backward else (first, first + fewer)
        return joined_page(connection, stream, first, last, backward, sql=sql)
    position, version, count, end, recorded_at, body, parts = values
    if version is None:
        return None
    if tuple(map(type, values)) != _JOINED_TYPES:
        shaped([values], *_JOINED_TYPES)
    if end - version != count:
        missing = int(connection.execute(_FIRST_HOLE, (stream, version)).get)
        raise Corrupt(
            f"{event_id(stream, missing)} is missing; run `refold doctor`",
            stream=stream,
            version=missing,
        )
    place = (position, stream, version, count, recorded_at)
    return Row(*place, None, body, packed_parts=parts, joined=SEPARATOR in body)


def log_page(connection: apsw.Connection, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of the log up to the bound of a page."""
    rows: list[tuple[Any, ...]] = []
    size_bytes = 0
    for row in connection.execute(sql, values):
        rows.append(row)
        # A damaged row may hold something else, which its reader refuses.
        size_bytes += sum([len(text) for text in row[_TEXTS] if isinstance(text, str | bytes)])
        if size_bytes >= PAGE_BYTES_MAX:
            break
    return rows


def packed_log(
    query: Callable[..., list[tuple[Any, ...]]],
    frames: Frames,
    sql: str,
    wanted: Sequence[str],
    *,
    after: int,
    until: int,
    rows_max: int,
) -> list[Row]:
    """The rows of a window of positions, the appends of segments set in their order.

    ``sql`` is :data:`LOG_ROWS`, narrowed to what is ``wanted``, and ``query`` runs it.
    """
    step = rows_max * _WINDOW_POSITIONS_PER_ROW
    for end in range(after + step, until + step, step):
        found = query(sql, after, end, LAST_POSITION, *wanted)
        rows: list[Row] = []
        size_bytes = 0
        # One segment after the other: where many interleave, all of them would be the log.
        for values in found:
            for row in row_of(frames, values).appends():
                if after < row.position + row.event_count - 1 and row.position <= end:
                    rows.append(row)
                    size_bytes += len(row.body)
            if size_bytes > PAGE_BYTES_MAX:
                rows, size_bytes = first_half(rows)
                end = rows[-1].position
        if rows:
            return sorted(rows, key=attrgetter("position"))
    return []


def first_half(rows: list[Row]) -> tuple[list[Row], int]:
    """The first rows of more than a page holds, in order, up to half a page; and their bytes."""
    rows = sorted(rows, key=attrgetter("position"))
    ends = list(accumulate(len(row.body) for row in rows))
    count = max(bisect_right(ends, PAGE_BYTES_MAX // 2), 1)
    return rows[:count], ends[count - 1]


def row_of(frames: Frames, values: Sequence[Any]) -> Row:
    """An append of the log, or a segment."""
    stream, position, version, count, at, first, last, now, metadata, body, number, size = values
    if tuple(map(type, values)) not in _ROW_TYPES:
        raise Corrupt(
            f"the row at position {position} is not as it was written; run `refold doctor`",
            position=position,
            stream=stream,
        )
    if size is None:
        return Row(position, stream, version, count, at, metadata, body, first, last, now)
    return frames.unpacked(stream, position, version, count, at, first, last, body, number, size)


def narrowed(
    categories: Sequence[str] | None, types: Sequence[str] | None
) -> tuple[str, list[str]]:
    """What narrows a log query, and its values from ?4 on.

    The types are looked up by the query itself: one that is new while it runs is in both or in
    neither. Schemas of a type share its name; a row too many does no harm, the reader looks again.
    """
    # Each list as one value: SQLite bounds how many a statement has, and how deep a row of ORs is.
    narrowed = ""
    wanted = [json.dumps(list(names)) for names in (categories, types) if names is not None]
    if categories is not None:
        narrowed += " AND (name IS NULL OR category IN (SELECT value FROM json_each(?4)))"
    if types is not None:
        narrowed += f" AND types & {TYPE_BITS.format(names=f'?{3 + len(wanted)}')} != 0"
    return narrowed, wanted


def head(connection: apsw.Connection, stream: str) -> StreamInfo | None:
    """A stream by its name."""
    found = connection.execute(_HEAD, (stream,)).get
    return None if found is None else stream_info(found)


def stream_info(row: tuple[Any, ...]) -> StreamInfo:
    """A row of :data:`STREAM`; :class:`~refold.errors.Corrupt` where it has no events."""
    name, parent, fork_version, version, recorded_at = row
    if version is None or recorded_at is None:
        raise Corrupt(f"the events of {name!r} are missing; run `refold doctor`", stream=name)
    if parent is None:
        shaped([row], str, object, int | None, int, int)
        return StreamInfo(name, version, None, recorded_at)
    shaped([row], str, str, int, int, int)
    return StreamInfo(name, version, Fork(parent, fork_version), recorded_at)


def kept_under(connection: apsw.Connection, key: str) -> Kept | None:
    """What an append under a key stored, each part in its place; None where there is none."""
    parts: list[Appended] = []
    digest = b""
    for index in range(EVENTS_PER_APPEND_MAX):
        rows = rows_of(connection, _BY_KEY, row_key(key, index))
        found = shaped(rows, str, int, int, int, int, bytes)
        if not found:
            break
        stream, position, version, count, recorded_at, digest = found[0]
        last = (version + count - 1, position + count - 1)
        parts.append(Appended(stream, *last, count, recorded_at, duplicate=True))
    return Kept(parts, digest) if parts else None
