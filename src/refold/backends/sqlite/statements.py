"""The statements that append: rows put in where the last row of the log is the one expected."""

from __future__ import annotations

from functools import cache
from typing import Final

_NAMES: Final = (
    "position, stream, version, count, recorded_at, types, key, digest, metadata, body, "
    "occurred_from, occurred_to"
)
_NEW_NAMES: Final = "new_kinds, new_stream, new_category, new_parent, new_fork_version"
COLUMNS: Final = 13
NEW_COLUMNS: Final = 5
_INSERT: Final = f"INSERT INTO log ({_NAMES}, clock_at) "
_INSERT_NEW: Final = f"INSERT INTO appending ({_NAMES}, clock_at, {_NEW_NAMES}) "

ALONE: Final = (
    f"INSERT INTO log ({_NAMES}) SELECT {','.join('?' * (COLUMNS - 1))} "
    "WHERE (SELECT max(position) FROM log) IS ?"
)
"""One append of known kinds to a known stream, while the clock is not behind; the last value is
the last position."""


@cache
def insert_of(places: int, columns: int) -> str:
    """The insert of up to ``places`` rows, guarded by the last row of the log."""
    row = f"({','.join('?' * columns)})"
    into = _INSERT if columns == COLUMNS else _INSERT_NEW
    return (
        f"{into} SELECT * FROM (VALUES {','.join([row] * places)}) "
        "WHERE column1 IS NOT NULL AND (SELECT max(position) FROM log) IS ?"
    )
