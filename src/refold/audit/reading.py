"""The appends of a log as they are sealed: one by one, in order, with nothing missing between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from refold.core.event import event_id
from refold.core.stored import Row
from refold.errors import Corrupt
from refold.ports import Backend

APPENDS_PER_PAGE: Final = 1_024


def appends_after(
    log: Backend,
    position: int,
    *,
    gaps: bool = False,
    rows_max: int = APPENDS_PER_PAGE,
    types: Sequence[str] | None = None,
) -> list[Row]:
    """The next appends over a position, each in a row of its own; none at the end of the log.

    ``types`` narrows it to those with an event of one of them.
    The first may begin before it, where it holds the next position.
    :class:`~refold.errors.Corrupt` where a position is not there, unless ``gaps`` may be.
    """
    rows = log.log(after=position, categories=None, types=types, rows_max=rows_max)
    if any(row.packed_parts is not None for row in rows):
        rows = sorted((one for row in rows for one in row.appends()), key=lambda one: one.position)
    for row in [] if gaps else rows:
        last = row.position + row.event_count - 1
        if not row.position <= position + 1 <= last:
            raise Corrupt(f"position {position + 1} is missing from the log", position=position + 1)
        position = last
    return rows


def first_version(log: Backend, stream: str) -> int:
    """The version of a stream's first own event: 0, but of a branch."""
    info = log.head(stream) if "~" in stream else None
    return 0 if info is None or info.fork is None else info.fork.version + 1


def forked_after(log: Backend, stream: str) -> tuple[str, int] | None:
    """The event that a branch was forked after, by its own stream and version.

    None where the stream is no branch, or shares nothing.
    """
    info = log.head(stream) if "~" in stream else None
    while info is not None and info.fork is not None:
        parent, version = info.fork
        if version < 0:
            return None
        info = log.head(parent)
        if info is None:
            raise Corrupt(f"{event_id(parent, version)} is missing", stream=parent)
        if info.fork is None or version > info.fork.version:
            return parent, version
    return None


def position_of(log: Backend, stream: str, version: int) -> int:
    """The position of an event by its own stream; Corrupt where it is not there."""
    for row in log.rows(stream, first=version, last=version, backward=False, events_max=1):
        return row.position_of(version)
    raise Corrupt(f"{event_id(stream, version)} is missing", stream=stream, version=version)


def leaf_in(hashes: bytes, position: int) -> bytes:
    """The leaf of a position among the hashes of its tile."""
    at = (position - 1) % 256 * 32
    return hashes[at : at + 32]


def pages(
    log: Backend, *, after: int, until: int, types: Sequence[str] | None = None
) -> Iterator[list[Row]]:
    """The appends of a log up to a position, a page at a time; positions may be missing."""
    while after < until and (rows := appends_after(log, after, gaps=True, types=types)):
        yield rows
        after = rows[-1].position + rows[-1].event_count - 1
