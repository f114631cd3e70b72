"""Whether keyed appends are the bytes that their digests were made of.

A segment carries a checksum of its own; an append that is not packed and has no key has neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

import apsw

from refold.backends.sqlite.file import rows_of
from refold.core.canonical import digest_of, is_of_command

_PART: Final = "\x1f"
"""Stands between the key of an append and the number of its part, from the second part on."""

_KEYED: Final = """
SELECT key, digest, position, name, body, metadata FROM log
LEFT JOIN streams ON streams.id = stream WHERE key IS NOT NULL ORDER BY key"""
_PACKED_PARTS: Final = "SELECT 1 FROM keys WHERE key = ?1 OR key BETWEEN ?1 || ?2 AND ?1 || ?3"


def first_changed(connection: apsw.Connection) -> int | None:
    """The position of a keyed append that is not what it was; None where all are."""
    for key, parts in _keyed(connection):
        digests = {digest for _, digest, *_ in parts}
        told = digest_of((name or "", body, metadata) for *_, name, body, metadata in parts)
        if any(map(is_of_command, digests)):
            continue  # It says what was asked for, not what came of it.
        if digests != {told} and not _is_partly_packed(connection, key):
            return int(parts[0][2])
    return None


def _keyed(connection: apsw.Connection) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """Each key with the rows of its append, in the order of its parts."""
    rows: Any = connection.execute(_KEYED)
    for key, group in groupby(rows, lambda row: str(row[0]).partition(_PART)[0]):
        yield key, sorted(group, key=lambda row: int(str(row[0]).partition(_PART)[2] or 0))


def _is_partly_packed(connection: apsw.Connection, key: str) -> bool:
    """Parts stand in streams of their own, so that some may be packed and others not."""
    return bool(rows_of(connection, f"{_PACKED_PARTS} LIMIT 1", key, _PART, _PART + "9" * 5))
