"""Reading rows: hot appends and packed segments in one statement.

A compaction that commits between two statements could hide an append; within one it cannot. The
last two columns, dictionary and body_bytes, are NULL for an append.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from refold.backends.sqlite.file import shaped
from refold.errors import Corrupt
from refold.ports import Fork, StreamInfo

_COLUMNS: Final = (
    "position, version, count, recorded_at, occurred_from, occurred_to, metadata, body"
)
_HOT_ROWS: Final = """
    SELECT {columns} FROM log
    WHERE stream = (SELECT id FROM streams WHERE name = ?1) AND version BETWEEN ifnull((
        SELECT max(version) FROM log
        WHERE stream = (SELECT id FROM streams WHERE name = ?1) AND version <= ?2
    ), {before}) AND ?3 AND version + count > ?2
    ORDER BY version {order} LIMIT ?4"""
_JOINED: Final = """
SELECT min(position), min(version), sum(count), min(recorded_at),
    min(occurred_from), max(occurred_to), group_concat(body, char(30)), NULL, NULL,
    '[[' || group_concat(concat_ws(
        ',', position, count, recorded_at, ifnull(metadata, 'null'), occurred_from, occurred_to
    ), '],[') || ']]',
    max(version + count)
FROM ({hot}) HAVING count(*) > 0"""
_STREAM_ROWS: Final = """
SELECT * FROM (
    SELECT position, version, count, recorded_at, occurred_from, occurred_to, frame,
        dictionary, body_bytes, NULL, version + count FROM segments
    WHERE stream = (SELECT id FROM streams WHERE name = ?1) AND version BETWEEN ifnull((
        SELECT max(version) FROM segments
        WHERE stream = (SELECT id FROM streams WHERE name = ?1) AND version <= ?2
    ), 0) AND ?3 AND version + count > ?2
    ORDER BY version {order} LIMIT min(?4, 64)
)
UNION ALL"""
_FITTING_ROWS: Final = """
SELECT count(*) FROM (
    SELECT sum(size_bytes) OVER (ORDER BY version {order}) AS so_far FROM ({hot})
) WHERE so_far <= ?5"""


def _hot(order: str, columns: str = _COLUMNS, before: str = "0") -> str:
    """Appends that overlap versions ?2..?3; from ``before`` on where none begins by ?2."""
    hot = _HOT_ROWS.format(order=order, columns=columns, before=before)
    return hot if order == "ASC" else f"SELECT * FROM ({hot}) ORDER BY version"


def _fitting(order: str) -> str:
    size = "octet_length(body) + ifnull(octet_length(metadata), 0) AS size_bytes"
    hot = _hot(order, f"version, {size}")
    return _FITTING_ROWS.format(order=order, hot=hot)


class StreamRows(NamedTuple):
    """``page``: up to 64 segments, and up to ?4 appends joined in one row, in no order.

    ``hot``: those appends alone; where they hold what is asked for first, the segments need no
    look. ``fitting``: how many of those appends come to ?5 bytes at most. A step of a query lets
    go of the interpreter, and a busy process takes its time to give it back: so a page of appends
    is one step. SQLite keeps the order of a subquery for group_concat.
    """

    page: str
    hot: str
    fitting: str


def _stream_rows(order: str, before: str) -> StreamRows:
    page = _STREAM_ROWS.format(order=order) + _JOINED.format(hot=_hot(order))
    return StreamRows(page, _JOINED.format(hot=_hot(order, before=before)), _fitting(order))


FORWARD: Final = _stream_rows("ASC", before="NULL")
BACKWARD: Final = _stream_rows("DESC", before="0")

BODIES: Final = f"""
SELECT max(position + count) - sum(count), min(version), sum(count), min(recorded_at),
    group_concat(body, char(30)), max(version + count)
FROM ({_hot("ASC", "position, version, count, recorded_at, body", before="NULL")})
HAVING count(*) > 0"""
"""What a fold needs of the appends of ``hot``: no more of each than its events.

The first column is where they would begin if the last of them stood right behind the others.
"""

ONE_ROW: Final = f"""
SELECT * FROM (
    SELECT {_COLUMNS}, NULL, NULL FROM log
    WHERE stream = (SELECT id FROM streams WHERE name = ?1) AND version <= ?2
    ORDER BY version DESC LIMIT 1
) WHERE version + count > ?2"""
"""The append that holds a version, where it is not packed: a tenth of what a page costs."""

FIRST_HOLE: Final = """
SELECT version + count FROM log AS before
WHERE stream = (SELECT id FROM streams WHERE name = ?1) AND version >= ?2 AND NOT EXISTS (
    SELECT 1 FROM log WHERE stream = before.stream AND version = before.version + before.count
) ORDER BY version LIMIT 1"""

LOG_ROWS: Final = """
SELECT name, position, version, count, recorded_at, occurred_from, occurred_to, metadata, body,
    NULL, NULL
FROM log LEFT JOIN streams ON streams.id = log.stream
WHERE position >= ifnull((SELECT max(position) FROM log WHERE position <= ?1 + 1), 1)
    AND position + count - 1 > ?1 AND position <= ?2 {narrowed}
UNION ALL
SELECT name, position, version, count, recorded_at, occurred_from, occurred_to, NULL, frame,
    dictionary, body_bytes
FROM segments LEFT JOIN streams ON streams.id = segments.stream
WHERE last_position > ?1 AND position <= ?2 {narrowed}
ORDER BY position LIMIT ?3"""
"""A row whose stream is missing comes without a name, so that it is not passed over."""

STREAMS: Final = """
SELECT name, parent, fork_version,
    ifnull((
        SELECT version + count - 1 FROM log WHERE stream = streams.id ORDER BY version DESC LIMIT 1
    ), packed_version),
    ifnull((
        SELECT recorded_at FROM log WHERE stream = streams.id ORDER BY version DESC LIMIT 1
    ), packed_at)
FROM streams WHERE {wanted} ORDER BY name LIMIT ?"""

LAST_ROW: Final = "SELECT position, count, recorded_at FROM log ORDER BY position DESC LIMIT 1"
LOG_HEAD: Final = "SELECT position + count - 1 FROM log ORDER BY position DESC LIMIT 1"
PACKED_AFTER: Final = "SELECT 1 FROM segments WHERE last_position > ? LIMIT 1"
TYPE_BITS: Final = """ifnull((
    SELECT sum(DISTINCT 1 << min(types.id, 62)) FROM json_each({names}) AS wanted CROSS JOIN types
    WHERE tag = wanted.value OR substr(tag, 1, length(wanted.value) + 2) = wanted.value || '.v'
), 0)"""


def narrowed(
    categories: Sequence[str] | None, types: Sequence[str] | None
) -> tuple[str, list[str]]:
    """What narrows a log query, and its values from ?4 on.

    The types are looked up by the query itself: one that is new while it runs is in both or in
    neither. Schemas of a type share its name; a row too many does no harm, the reader looks again.
    """
    narrowed, wanted = "", [*(categories or ())]
    places = [f"?{number}" for number in range(4, 5 + len(wanted))]
    if categories is not None:
        narrowed += f" AND (name IS NULL OR category IN ({','.join(places[:-1])}))"
    if types is not None:
        # As one value: SQLite bounds how many a statement has, and how deep a row of ORs is.
        wanted.append(json.dumps(list(types)))
        narrowed += f" AND types & {TYPE_BITS.format(names=places[-1])} != 0"
    return narrowed, wanted


def stream_info(row: tuple[Any, ...]) -> StreamInfo:
    """A row of :data:`STREAMS`; :class:`~refold.errors.Corrupt` where it has no events."""
    name, parent, fork_version, version, recorded_at = row
    if version is None or recorded_at is None:
        raise Corrupt(f"the events of {name!r} are missing; run `refold doctor`", stream=name)
    shaped([row], str, str | None, int | None, int, int)
    if parent is None:
        return StreamInfo(name, version, None, recorded_at)
    shaped([(fork_version,)], int)
    return StreamInfo(name, version, Fork(parent, fork_version), recorded_at)
