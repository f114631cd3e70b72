"""Bytes that are not what was stored: an error of refold's, and never another kind of exception."""

from __future__ import annotations

import string
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from refold.backends.sqlite.compression import Frames, zstd
from refold.core.encode import encode_body, encode_metadata, row_of
from refold.core.event import Event
from refold.core.fold import Folded
from refold.core.recorded import decode_row
from refold.core.snapshot import Snapshot, Snapshotter, _digest
from refold.core.stored import Row, Segment, joined
from refold.errors import Corrupt, RefoldError
from tests.faults.judging import facts
from tests.fuzz.asking import BODIES, COUNTING, REGISTRY, Counted, ask_all_of_row
from tests.fuzz.values import JSON_VALUES, KEYS, damaged, fuzzed

EVENTS = st.lists(
    st.builds(
        lambda value, at, said: Event("a.b", value, occurred_at=at, metadata=said),
        JSON_VALUES,
        st.none() | st.integers(0, 10**16),
        st.none() | st.dictionaries(KEYS, JSON_VALUES, max_size=3),
    ),
    min_size=1,
    max_size=3,
)


def _rows(appends: Sequence[tuple[list[Event], dict[str, Any] | None]]) -> list[Row]:
    rows: list[Row] = []
    position, version = 3, 0
    for number, (events, metadata) in enumerate(appends):
        body = encode_body(events, REGISTRY)
        rows.append(
            row_of(
                body,
                position=position,
                stream="call-1",
                version=version,
                recorded_at=10**15 + number,
                metadata=encode_metadata(metadata),
            )
        )
        version += len(events)
        position += len(events) + number % 2  # Others of the log may stand between.
    return rows


def _unpacked(frames: Frames, segment: Segment, frame: bytes) -> Row:
    return frames.unpacked(
        segment.stream,
        segment.position,
        segment.version,
        segment.event_count,
        segment.recorded_at,
        segment.occurred_from,
        segment.occurred_to,
        frame,
        None,
        segment.body_bytes,
    )


def _plain(row: Row) -> tuple[object, ...]:
    """A row with its texts as bytes."""
    texts = (t.encode() if isinstance(t, str) else t for t in (row.metadata, row.body))
    return *row[:5], *texts, *row[7:9]


def _segment() -> Segment:
    said = [([Event("a.b", {"n": n, "text": string.ascii_letters})], {"by": "x"}) for n in range(9)]
    return joined(_rows(said))


def _snapshot() -> Snapshot:
    state = Counted(3, ["a", "é"], {"x": 1.5, "y": None})
    folded, snapshotter = Folded(state, 8, 9), Snapshotter(COUNTING, Counted)
    taken = snapshotter.take("call-1", folded, occurred_to=5, in_order=True)
    assert taken is not None
    return taken


SEGMENT = _segment()
FRAME = Frames(lambda number: b"").packed(SEGMENT, None)
SNAPSHOT = _snapshot()


# -- rows -----------------------------------------------------------------------------------------


@fuzzed(250, 3_000)
@given(
    body=damaged(BODIES) | st.binary(max_size=60),
    metadata=st.none() | damaged([b'{"actor":"x","n":{"m":1}}', b"{}"]) | st.binary(max_size=20),
    count=st.integers(0, 4),
    as_text=st.booleans(),
    is_joined=st.booleans(),
)
def test_a_damaged_row_is_corrupt_or_can_be_read(
    body: bytes, metadata: bytes | None, count: int, as_text: bool, is_joined: bool
) -> None:
    """All that a row's events say can be asked for; what cannot be told is an error of refold's."""
    if as_text:
        with suppress(UnicodeDecodeError):
            row = Row(5, "call-1", 7, count, 10**15, metadata, body.decode())
            ask_all_of_row(row)
    parts = b"[[5,%d,1000,%s]]" % (count, metadata or b"null")
    for row in (
        Row(5, "call-1", 7, count, 10**15, metadata, body),
        Row(5, "call-1", 7, count, 10**15, None, body, packed_parts=parts, joined=is_joined),
    ):
        ask_all_of_row(row)


@fuzzed(120, 1_500)
@given(
    parts=damaged([b'[[1,1,5],[2,2,6,{"by":"x"}]]', b"[[1,3,5,null,-9,10]]", b"[[1,1,5],[9,2,7]]"])
)
def test_damaged_parts_of_a_row_are_corrupt_or_can_be_read(parts: bytes) -> None:
    """A row of several appends, of which the places and times are not what they were."""
    body = b'[["a.b",1],["a.b",2],["a.b",3]]'
    row = Row(1, "call-1", 0, 3, 5, None, body, 5, 6, packed_parts=parts)
    ask_all_of_row(row)
    for call in (
        lambda: row.appends(),
        lambda: row.position_of(2),
        lambda: list(row.spans(first=0, last=9)),
    ):
        with suppress(RefoldError):
            call()


@fuzzed(60, 1_000)
@given(
    appends=st.lists(
        st.tuples(EVENTS, st.none() | st.dictionaries(KEYS, JSON_VALUES)), min_size=1, max_size=6
    )
)
def test_a_segment_gives_back_every_append(
    appends: list[tuple[list[Event], dict[str, Any] | None]],
) -> None:
    """Joined, packed, unpacked and taken apart again, each append is what it was, to the byte."""
    rows = _rows(appends)
    segment = joined(rows)
    frames = Frames(lambda number: b"")
    unpacked = _unpacked(frames, segment, frames.packed(segment, None))
    assert [_plain(row) for row in unpacked.appends()] == [_plain(row) for row in rows]
    assert facts(decode_row(unpacked, REGISTRY)) == [
        fact for row in rows for fact in facts(decode_row(row, REGISTRY))
    ]


@fuzzed(150, 2_000)
@given(frame=damaged([FRAME]) | st.binary(max_size=40))
def test_a_damaged_frame_is_corrupt(frame: bytes) -> None:
    """Its checksum tells: what it unpacks to is what was packed, or it is Corrupt."""
    try:
        row = _unpacked(Frames(lambda number: b""), SEGMENT, frame)
    except Corrupt as error:
        assert (error.position, error.stream) == (SEGMENT.position, SEGMENT.stream)
        assert frame != FRAME
    else:
        assert row == _unpacked(Frames(lambda number: b""), SEGMENT, FRAME)


@fuzzed(150, 2_000)
@given(text=damaged([SEGMENT.text]), border=st.integers(-5, 5), count=st.integers(0, 12))
def test_a_frame_of_other_text_is_corrupt_or_can_be_read(
    text: bytes, border: int, count: int
) -> None:
    """Nobody else's frame, border or count of events ends in an exception that is not refold's."""
    segment = SEGMENT._replace(text=text, event_count=count)
    frames = Frames(lambda number: b"")
    shifted = segment._replace(body_bytes=max(segment.body_bytes + border, 0))
    with suppress(RefoldError):
        row = _unpacked(frames, shifted, zstd().compress(text))
        ask_all_of_row(row)
        for append in row.appends():
            ask_all_of_row(append)


# -- snapshots ------------------------------------------------------------------------------------


@fuzzed(150, 2_000)
@given(
    state=damaged([SNAPSHOT.state]) | st.binary(max_size=30),
    digest=st.just(SNAPSHOT.digest) | damaged([SNAPSHOT.digest]),
    version=st.sampled_from([8, 9]),
)
def test_a_damaged_snapshot_is_not_believed(state: bytes, digest: bytes, version: int) -> None:
    """Of any other byte it is as if there were none, and where its digest holds no exception."""
    snapshotter = Snapshotter(COUNTING, Counted)
    other = SNAPSHOT._replace(state=state, digest=digest, version=version)
    assert (snapshotter.restored(other) is None) == (other != SNAPSHOT)
    forged = other._replace(digest=_digest(other))
    restored = snapshotter.restored(forged)
    assert restored is None or isinstance(restored, Counted)
