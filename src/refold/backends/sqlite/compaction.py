"""Compaction: old appends of a stream become segments, a few transactions at a time.

Everything is read and compressed outside a transaction; a short one then puts the segments in and
takes the appends out. Killed at any moment, an append is in one place or the other, never both or
neither. The last append of the log is never packed: writers know the head of the log by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain, islice
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeVar

import apsw

from refold.backends.sqlite.compression import DICTIONARY_BYTES, Frames, trained
from refold.backends.sqlite.file import mark_of, rows_of, shaped
from refold.backends.sqlite.queries import row_of
from refold.backends.transaction import transacted
from refold.core.stored import Row, Segment, corrupt, joined
from refold.errors import Unavailable
from refold.ports import CLOCK_STREAM, Packed

T = TypeVar("T")
BEGUN_MAX: Final = 100
"""So often a compaction begins again where events were replaced meanwhile."""
EVENTS_PER_SEGMENT: Final = 192
"""A frame takes whole pages, and wastes less of its last one the larger it is.

Beside 128: 124 bytes an event instead of 134 for single appends of 300-byte turns, and half more
to unpack where one event is read.
"""
TEXT_BYTES_PER_SEGMENT: Final = 1024 * 1024
SEGMENTS_PER_COMMIT: Final = 64
ROWS_PER_PAGE: Final = 1_024
SAMPLE_BYTES_MAX: Final = 100 * DICTIONARY_BYTES

_STREAMS: Final = f"""
SELECT stream, name, category, ifnull(packed_version, -1), sum(count) FROM log
JOIN streams ON streams.id = stream WHERE position < ? AND name IS NOT '{CLOCK_STREAM}'
GROUP BY stream ORDER BY category, stream"""
_HOT: Final = """
SELECT position, version, count, recorded_at, occurred_from, occurred_to, clock_at, metadata, body,
    types FROM log
WHERE stream = ? AND version > ? AND position < ? ORDER BY version LIMIT ?"""
_SAMPLES: Final = """
SELECT body FROM log JOIN streams ON streams.id = stream WHERE category = ? LIMIT 20000"""
_INSERT: Final = "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DELETE: Final = "DELETE FROM log WHERE stream = ? AND version BETWEEN ? AND ?"
_KEEP_KEYS: Final = """
INSERT INTO keys SELECT key, digest, stream, position, version, count, recorded_at FROM log
WHERE stream = ? AND version BETWEEN ? AND ? AND key IS NOT NULL"""
_AS_READ: Final = """
SELECT coalesce(packed_version, fork_version, -1) + 1 = ?2 AND ?4 = (
    SELECT count(*) FROM log WHERE stream = ?1 AND version BETWEEN ?2 AND ?3
) FROM streams WHERE id = ?1"""
_PACKED_TO: Final = "UPDATE streams SET packed_version = ?, packed_at = ? WHERE id = ?"
_OLD: Final = """
SELECT streams.category, name, position, version, count, recorded_at, occurred_from, occurred_to,
    frame, dictionary, segments.body_bytes FROM segments JOIN streams ON streams.id = stream"""
_GIVEN_UP: Final = """
WHERE dictionary IN (SELECT id FROM dictionaries WHERE category GLOB char(31) || '*')"""
_AGAIN: Final = """
UPDATE segments SET frame = ?, dictionary = ? WHERE position = ? AND dictionary IS ?"""
_FORGET: Final = """
DELETE FROM dictionaries WHERE category GLOB char(31) || '*'
    AND id NOT IN (SELECT dictionary FROM segments WHERE dictionary IS NOT NULL)"""
_TRAINED: Final = "INSERT OR IGNORE INTO dictionaries VALUES (abs(random() >> 1), ?, ?)"
"""Under a number that no other has had, which somebody may still hold by it."""
_SEGMENT_TYPES: Final = (int, int, int, int, int, int, bytes, int | None, int, int)
_LAST_SEGMENT: Final = """
SELECT position, version, count, recorded_at, occurred_from, occurred_to, frame, dictionary,
    body_bytes, types FROM segments WHERE stream = ? ORDER BY version DESC LIMIT 1"""


class _WasReplaced(Exception):
    """What was read may not be what stands now."""


class _PackedStream(NamedTuple):
    id: int
    name: str
    category: str
    packed_version: int


class _Ready(NamedTuple):
    """A segment to put in: ``rows_out`` hot appends from ``first_out`` on go out for it."""

    stream: _PackedStream
    segment: Segment
    frame: bytes
    dictionary: int | None
    types: int
    first_out: int
    rows_out: int
    replaces: int | None


class Packer:
    """One compaction on a connection of its own."""

    def __init__(self, connection: apsw.Connection, frames: Frames) -> None:
        self._connection = connection
        self._frames = frames
        self._mark = 0
        self._done = Packed(0, 0)
        self._dictionary = cache(self._found_or_trained)

    def pack(self, *, until: int, progress: Callable[[int, int], None]) -> Packed:
        """Pack every append up to a position; ``progress`` gets events done and in all."""
        self._settled(self._pack, until, progress)
        return self._done

    def pack_again(self, progress: Callable[[int, int], None]) -> None:
        """Pack without them what was packed with dictionaries that were given up; forget these."""
        self._settled(self._pack_again, progress)

    def _settled(self, work: Callable[..., None], *arguments: Any) -> None:
        """Do some work; begin it again where events were replaced since it had read them."""
        for _ in range(BEGUN_MAX):
            self._mark = mark_of(self._connection)
            self._dictionary = cache(self._found_or_trained)
            with suppress(_WasReplaced):
                return work(*arguments)
        raise Unavailable("events were replaced again and again meanwhile: try again later")

    def _pack(self, until: int, progress: Callable[[int, int], None]) -> None:
        # The log's last append stays where it is.
        ((last,),) = rows_of(self._connection, "SELECT max(position) FROM log")
        cutoff = min(until + 1, last or 1)
        found = shaped(rows_of(self._connection, _STREAMS, cutoff), int, str, str, int, int)
        in_all = self._done.events + sum(row[-1] for row in found)
        streams = [_PackedStream(*row[:-1]) for row in found]
        ready = chain.from_iterable(self._segments(stream, cutoff) for stream in streams)
        progress(self._done.events, in_all)
        while batch := list(islice(ready, SEGMENTS_PER_COMMIT)):
            events, segments = self._done
            self._done = Packed(events + self._stored(batch), segments + len(batch))
            progress(self._done.events, in_all)

    def _pack_again(self, progress: Callable[[int, int], None]) -> None:
        ((in_all,),) = rows_of(self._connection, f"SELECT count(*) FROM segments {_GIVEN_UP}")
        done = 0
        while page := rows_of(self._connection, f"{_OLD} {_GIVEN_UP} LIMIT {SEGMENTS_PER_COMMIT}"):
            again = []
            for category, *values in page:
                dictionary = self._dictionary(category)
                frame = self._frames.packed(joined([self._frames.unpacked(*values)]), dictionary)
                again.append((frame, dictionary, values[1], values[8]))
            transacted(self._connection, self._connection.executemany, _AGAIN, again)
            done += len(page)
            progress(done, in_all)
        self._connection.execute(_FORGET)

    def _segments(self, stream: _PackedStream, cutoff: int) -> Iterator[_Ready]:
        """The segments of a stream's old appends; a small last one is packed again with more."""
        rows, types, replaces = self._reopened(stream)
        taken = 0
        for row, row_types in self._hot(stream, cutoff):
            rows.append(row)
            types |= row_types
            taken += 1
            if _is_full(rows):
                yield self._ready(stream, rows, types, taken, replaces)
                rows, types, taken, replaces = [], 0, 0, None
        if taken:
            yield self._ready(stream, rows, types, taken, replaces)

    def _reopened(self, stream: _PackedStream) -> tuple[list[Row], int, int | None]:
        found = shaped(rows_of(self._connection, _LAST_SEGMENT, stream.id), *_SEGMENT_TYPES)
        if not found or found[0][2] * 2 > EVENTS_PER_SEGMENT:
            return [], 0, None
        *values, types = found[0]
        return [self._frames.unpacked(stream.name, *values)], types, values[0]

    def _hot(self, stream: _PackedStream, cutoff: int) -> Iterator[tuple[Row, int]]:
        after = stream.packed_version
        while page := rows_of(self._connection, _HOT, stream.id, after, cutoff, ROWS_PER_PAGE):
            for *values, types in page:
                row = row_of(self._frames, [stream.name, *values, None, None])
                if row.event_count < 1 or not isinstance(types, int):
                    raise corrupt(row, f"it says that it holds {row.event_count} events")
                yield row, types
                after = row.last_version

    def _ready(
        self, stream: _PackedStream, rows: list[Row], types: int, taken: int, replaces: int | None
    ) -> _Ready:
        segment = joined(rows)
        dictionary = self._dictionary(stream.category)
        frame = self._frames.packed(segment, dictionary)
        first_out = rows[-taken].version
        return _Ready(stream, segment, frame, dictionary, types, first_out, taken, replaces)

    def _stored(self, ready: Sequence[_Ready]) -> int:
        """Put segments in and their appends out; the events that were moved."""
        return self._unless_replaced(lambda: sum(map(self._store, ready)))

    def _unless_replaced(self, work: Callable[[], T]) -> T:
        """Do in a transaction what rests on events that were read, where these still stand."""

        def checked() -> T:
            if mark_of(self._connection) != self._mark:
                raise _WasReplaced
            return work()

        return transacted(self._connection, checked)

    def _store(self, one: _Ready) -> int:
        segment, stream = one.segment, one.stream
        last = segment.version + segment.event_count - 1
        out = (stream.id, one.first_out, last)
        if rows_of(self._connection, _AS_READ, *out, one.rows_out) != [(1,)]:
            return 0  # Another compaction was here first: what is packed must have no holes.
        self._connection.execute(_KEEP_KEYS, out)
        self._connection.execute(_DELETE, out)
        if one.replaces is not None:
            self._connection.execute("DELETE FROM segments WHERE position = ?", (one.replaces,))
        place = segment.position, segment.last_position, stream.id, segment.version
        times = segment.recorded_at, segment.occurred_from, segment.occurred_to
        frame = one.types, one.dictionary, segment.body_bytes, one.frame
        self._connection.execute(_INSERT, (*place, segment.event_count, *times, *frame))
        self._connection.execute(_PACKED_TO, (last, segment.last_recorded_at, stream.id))
        return last - one.first_out + 1

    def _found_or_trained(self, category: str) -> int | None:
        wanted = "SELECT id FROM dictionaries WHERE category = ?"
        found = rows_of(self._connection, wanted, category)
        if found:
            return int(found[0][0])
        made = trained(self._samples(category))
        if made is None:
            return None
        self._unless_replaced(lambda: self._connection.execute(_TRAINED, (category, made)))
        return int(rows_of(self._connection, wanted, category)[0][0])

    def _samples(self, category: str) -> list[bytes]:
        """Bodies of a category: those that are not packed, and where these are few, others too."""
        samples: list[bytes] = []
        size_bytes = 0
        for body in self._bodies(category):
            samples.append(body)
            size_bytes += len(body)
            if size_bytes > SAMPLE_BYTES_MAX:
                break
        return samples

    def _bodies(self, category: str) -> Iterator[bytes]:
        for (body,) in self._connection.execute(_SAMPLES, (category,)):
            yield str(body).encode()
        for _, *values in self._connection.execute(f"{_OLD} WHERE category = ?", (category,)):
            yield from map(attrgetter("body"), self._frames.unpacked(*values).appends())


def _is_full(rows: Sequence[Row]) -> bool:
    return (
        sum(row.event_count for row in rows) >= EVENTS_PER_SEGMENT
        or sum(len(row.body) + len(row.metadata or "") for row in rows) >= TEXT_BYTES_PER_SEGMENT
    )
