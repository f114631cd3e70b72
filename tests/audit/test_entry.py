"""Leaves made in a hurry are those of the entries, and both are what the format says."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.audit.entry import StreamTip, commitment_of, entries_of, leaves_of, salt_of
from refold.core.stored import Row
from refold.errors import Corrupt

TEXTS = st.text(max_size=40)
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


@given(row=rows(), is_new=st.booleans())
def test_leaves_are_those_of_the_entries(row: Row, is_new: bool) -> None:
    """Leaf by leaf, and the stream stands where it would."""
    slow, quick = tip_before(row, is_new=is_new), tip_before(row, is_new=is_new)
    made = entries_of(row, slow, secret_of)
    assert leaves_of(row, quick, secret_of) == b"".join(leaf for _, leaf in made)
    assert [leaf for _, leaf in made] == [hashlib.sha256(b"\0" + e).digest() for e, _ in made]
    assert quick == slow
    assert (quick.version, quick.is_new) == (row.last_version, False)


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
    """By both, before anything is made of it."""
    row = Row(1, "s", 0, 1, 5, None, body)
    for make in (entries_of, leaves_of):
        tip = tip_before(row, is_new=True)
        with pytest.raises(Corrupt):
            make(row, tip, secret_of)
        assert tip == tip_before(row, is_new=True)
