"""Entries and leaves, made in a hurry, are what the format says, made in the plainest way."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.audit.entry import StreamTip, commitment_of, leaves_of, salt_of
from refold.core.stored import Row
from refold.errors import Corrupt

TEXTS = st.text(max_size=40)
MISSING = (msgspec.Raw(b"null"), msgspec.Raw())
"""What an event has that does not say when it occurred, and one without metadata."""
METADATA = st.none() | st.dictionaries(st.text(max_size=3), TEXTS, max_size=2)
TIMES = st.integers(min_value=0, max_value=1 << 50)


@st.composite
def events(draw: st.DrawFn) -> list[object]:
    """An event as a body holds it: as short as it can be, or with what may follow."""
    event: list[object] = [draw(st.sampled_from(["a.b", "user.utterance", "é.v2"])), draw(TEXTS)]
    occurred, metadata = draw(st.none() | TIMES), draw(METADATA)
    if occurred is not None or metadata is not None:
        event.append(occurred)
    return event if metadata is None else [*event, metadata]


@st.composite
def rows(draw: st.DrawFn) -> Row:
    """An append anywhere in a log, over the edges of tiles too."""
    held = draw(st.lists(events(), min_size=1, max_size=5))
    body: bytes | str = msgspec.json.encode(held)
    body = body if draw(st.booleans()) else msgspec.json.encode(held).decode()
    shared = draw(METADATA)
    return Row(
        draw(st.integers(1, 1_000) | st.integers(250, 260)),
        draw(st.text(min_size=1, max_size=5)),
        draw(st.integers(0, 1 << 40)),
        len(held),
        draw(TIMES),
        None if shared is None else msgspec.json.encode(shared),
        body,
        clock_at=draw(st.none() | TIMES),
    )


def tip_before(row: Row, *, is_new: bool) -> StreamTip:
    """Where a stream stands before an append."""
    return StreamTip(b"p" * 16, row.version - 1, b"l" * 32, is_new=is_new)


def secret_of(position: int) -> bytes:
    """Another for each tile."""
    return hashlib.sha256(b"%d" % ((position - 1) // 256)).digest()


def plain_entries(row: Row, tip: StreamTip, sealed: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    """Entry and leaf of each event, as docs/reference/audit-format.md has them."""
    previous, shared = tip.leaf, row.metadata or b""
    now = row.recorded_at if row.clock_at is None else row.clock_at
    body = row.body if isinstance(row.body, bytes) else row.body.encode()
    for at, event in enumerate(msgspec.json.decode(body, type=list[list[msgspec.Raw]])):
        tag, data, occurred, own = (*event, *MISSING[len(event) - 2 :])
        values = [(0, bytes(data))]
        if shared or own:
            shared = shared if isinstance(shared, bytes) else shared.encode()
            values.append((1, len(shared).to_bytes(8) + shared + bytes(own)))
        if tip.is_new and not at:
            values.append((3, row.stream.encode()))
        kind = msgspec.json.decode(tag, type=str).encode()
        entry = b"\1" + tip.pseudonym + (tip.version + 1 + at).to_bytes(8) + previous
        entry += row.recorded_at.to_bytes(8, signed=True)
        when = msgspec.json.decode(occurred)
        entry += (now if when is None else when).to_bytes(8, signed=True)
        entry += len(kind).to_bytes(2) + kind + bytes([len(values)])
        place = row.position + at
        for ordinal, value in values:
            made = hashlib.shake_256(b"refold/salt/1" + secret_of(place) + bytes([ordinal]))
            hashed = b"refold/commitment/1" + bytes([ordinal])
            hashed += made.digest(8192)[(place - 1) % 256 * 32 :][:32]
            hashed += len(value).to_bytes(8) + value
            entry += bytes([ordinal]) + hashlib.sha256(hashed).digest()
        leaf = hashlib.sha256(b"\0" + entry).digest()
        yield entry, leaf
        previous = leaf if sealed is None else sealed[at * 32 : at * 32 + 32]


@given(row=rows(), is_new=st.booleans(), sealed=st.none() | st.just(b"s" * 160))
def test_leaves_are_those_of_the_entries(row: Row, is_new: bool, sealed: bytes | None) -> None:
    """Leaf by leaf, whether entries are asked for or not; and the stream stands where it would."""
    plain = list(plain_entries(row, tip_before(row, is_new=is_new), sealed))
    for entries in (None, list[bytes]()):
        tip = tip_before(row, is_new=is_new)
        made = leaves_of(row, tip, secret_of, sealed=sealed, entries=entries)
        assert made == b"".join(leaf for _, leaf in plain)
        assert entries in (None, [entry for entry, _ in plain])
        last = plain[-1][1] if sealed is None else b"s" * 32
        assert tip == StreamTip(b"p" * 16, row.last_version, last)


def test_a_salt_is_the_place_of_its_event_in_what_the_secret_of_a_tile_gives() -> None:
    """As FIPS 202 and the format have it: of a tile's edges, and of two ordinals."""
    for position, place in ((1, 0), (256, 255), (257, 0), (300, 43)):
        for ordinal in (0, 3):
            given = hashlib.shake_256(b"refold/salt/1" + b"s" * 32 + bytes([ordinal]))
            expected = given.digest(8192)[place * 32 : place * 32 + 32]
            assert salt_of(b"s" * 32, position, ordinal) == expected
    assert commitment_of(0, b"x" * 32, b"a") != commitment_of(1, b"x" * 32, b"a")


@pytest.mark.parametrize("body", [b"[", b"[]", b'[["a",1],["b",2]]', b'[["a"]]'])
def test_a_body_that_is_not_the_appends_is_refused(body: bytes) -> None:
    """Before anything is made of it."""
    row = Row(1, "s", 0, 1, 5, None, body)
    tip = tip_before(row, is_new=True)
    with pytest.raises(Corrupt):
        leaves_of(row, tip, secret_of)
    assert tip == tip_before(row, is_new=True)
