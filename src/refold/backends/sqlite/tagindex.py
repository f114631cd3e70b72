"""The index of tags: whether it says what the metadata of the appends say, and how to make it anew.

The log is the truth, packed or not; the index is made of it, by a trigger as appends come.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import apsw

from refold.backends.sqlite.compression import Frames
from refold.backends.sqlite.file import rows_of, transaction
from refold.backends.sqlite.tags import mask_of
from refold.core.stored import Row, decode_body

_NAMED: Final = '"tags"'
_DUE: Final = f"""
SELECT said.value AS tag, position + count - 1 AS last_position, stream, version, count, types
FROM log JOIN streams ON streams.id = stream AND category NOT LIKE '%~'
JOIN json_each(metadata, '$.tags') AS said ON said.type = 'text'
WHERE instr(metadata, '{_NAMED}') GROUP BY position, said.value"""
_IS_THERE: Final = """
SELECT 1 FROM tags WHERE tag = ? AND last_position = ? AND stream = ? AND version = ?
    AND count = ? AND types = ?"""
_MISSING: Final = f"""
SELECT last_position FROM ({_DUE}) AS due WHERE NOT EXISTS (
    SELECT 1 FROM tags WHERE tags.tag = due.tag AND tags.last_position = due.last_position
        AND (tags.stream, tags.version, tags.count, tags.types)
            = (due.stream, due.version, due.count, due.types)
) LIMIT 1"""
_SEGMENTS: Final = """
SELECT stream, name, position, version, count, recorded_at, occurred_from, occurred_to, frame,
    dictionary, body_bytes
FROM segments JOIN streams ON streams.id = stream AND category NOT LIKE '%~'"""
_TAGS_OF: Final = """
SELECT DISTINCT value FROM json_each(CAST(? AS TEXT), '$.tags') WHERE type = 'text'"""


_Entry = tuple[str, int, int, int, int, int]
"""A row of the index: tag, last position, stream, version, count and types."""


def first_wrong(connection: apsw.Connection, frames: Frames) -> str | None:
    """What is wrong with the index; None when it is as it must be."""
    for (position,) in rows_of(connection, _MISSING):
        return f"a tag of the append that ends at position {position} is not in the index"
    ((due,),) = rows_of(connection, f"SELECT count(*) FROM ({_DUE})")
    for entry in _packed(connection, frames):
        if not rows_of(connection, _IS_THERE, *entry):
            return f"a tag of the append that ends at position {entry[1]} is not in the index"
        due += 1
    ((there,),) = rows_of(connection, "SELECT count(*) FROM tags")
    return None if there == due else f"{there} in the index, {due} in the log"


def remade(connection: apsw.Connection, frames: Frames) -> int:
    """Make the index anew, all at once; how many tags of appends it holds now."""
    with transaction(connection):
        connection.execute("DELETE FROM tags")
        connection.execute(f"INSERT INTO tags {_DUE}")
        connection.executemany(
            "INSERT INTO tags VALUES (?, ?, ?, ?, ?, ?)", _packed(connection, frames)
        )
        ((count,),) = rows_of(connection, "SELECT count(*) FROM tags")
        return int(count)


def _packed(connection: apsw.Connection, frames: Frames) -> Iterator[_Entry]:
    """What the index must hold of appends that are packed."""
    kinds = dict(rows_of(connection, "SELECT tag, id FROM types"))
    packed: Any = connection.execute(_SEGMENTS)
    for stream, name, *values in packed:
        row = frames.unpacked(name, *values)
        if _NAMED.encode() in (row.packed_parts or b""):
            for append in row.appends():
                yield from _entries(connection, stream, append, kinds)


def _entries(
    connection: apsw.Connection, stream: int, append: Row, kinds: dict[str, int]
) -> Iterator[_Entry]:
    if append.metadata is None:
        return
    types = mask_of([kinds[stored.tag] for stored in decode_body(append.body)])
    last = append.position + append.event_count - 1
    for (tag,) in rows_of(connection, _TAGS_OF, append.metadata):
        yield tag, last, stream, append.version, append.event_count, types
