"""A stream too short for a snapshot is read at once: the same state, and the same refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.backends.sqlite import queries
from refold.backends.sqlite.backend import SqliteBackend
from refold.core.snapshot import EVENTS_BETWEEN_MIN
from refold.errors import Corrupt, NotFound, UsageError

SEEN: refold.Fold[list[Any]] = refold.Fold("seen", list)
"""What is seen of each event, its place included."""


@SEEN.on("noted")
def _noted(state: list[Any], event: Any, recorded: refold.Recorded) -> list[Any]:
    return [*state, (recorded.id, recorded.position, recorded.occurred_at_us, event)]


def backend_of(store: refold.Store) -> SqliteBackend:
    """The backend of a store in a file."""
    assert isinstance(store._backend, SqliteBackend)
    return store._backend


def is_read_at_once(store: refold.Store, stream: str) -> bool:
    """Whether a fold of a stream is one query."""
    return backend_of(store).whole(stream, last=EVENTS_BETWEEN_MIN - 2) is not None


def seen_by_reading(store: refold.Store, stream: str) -> refold.Folded[list[Any]]:
    """The fold by way of the events."""
    return SEEN.run(store.read(stream))


@given(sizes=st.lists(st.integers(1, 120), min_size=1, max_size=4), other=st.integers(1, 3))
def test_a_short_stream_folds_to_what_its_events_come_to(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], other: int
) -> None:
    """In appends of any size, between others; one that may have a snapshot is read as any other."""
    path = tmp_path_factory.mktemp("short") / "a.db"
    with refold.open(path, synchronous="NORMAL") as store:
        for number, size in enumerate(sizes):
            store.append("call-2", [refold.Event("noted")] * other)
            events = [refold.Event("noted", {"n": n}, occurred_at=number) for n in range(size)]
            store.append("call-1", events)
        assert store.fold("call-1", SEEN) == seen_by_reading(store, "call-1")
        assert is_read_at_once(store, "call-1") is (sum(sizes) < EVENTS_BETWEEN_MIN)


def test_what_is_not_kept_in_one_piece_is_read_as_any_other(tmp_path: Path) -> None:
    """A branch, what is packed, and a stream of which a part is packed."""
    with refold.open(tmp_path / "a.db") as store:
        store.append("call-1", [refold.Event("noted", {"n": n}) for n in range(5)])
        assert is_read_at_once(store, "call-1")
        for at in (0, 2, 4):
            branch = store.branch("call-1", at=at).adding(refold.Event("noted", {"n": "b"}))
            branch.save(f"call-1~{at}")
            assert not is_read_at_once(store, f"call-1~{at}")
            assert len(store.fold(f"call-1~{at}", SEEN).state) == at + 2
        store.compact()
        store.append("call-1", [refold.Event("noted", {"n": 5})])
        for stream in ("call-1", "call-1~2"):
            assert not is_read_at_once(store, stream)
            assert store.fold(stream, SEEN) == seen_by_reading(store, stream)


def test_a_short_stream_that_is_large_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few events may be more bytes than a page may have."""
    monkeypatch.setattr(queries, "PAGE_BYTES_MAX", 50_000)
    with refold.open(tmp_path / "a.db") as store:
        for n in range(9):
            store.append("call-1", [refold.Event("noted", {"n": n, "text": "x" * 9_000})])
        assert not is_read_at_once(store, "call-1")
        assert store.fold("call-1", SEEN) == seen_by_reading(store, "call-1")


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_hole_in_a_short_stream_is_told(tmp_path: Path, missing: int) -> None:
    """An append that is gone is no shorter stream; at its end nobody can know."""
    with refold.open(tmp_path / "a.db") as store:
        for _ in range(4):
            store.append("call-1", [refold.Event("noted")] * 2)
        with backend_of(store)._reading() as connection:
            connection.execute(f"DELETE FROM log WHERE version = {missing * 2}")
        with pytest.raises(Corrupt, match=f"call-1@{missing * 2} is missing"):
            store.fold("call-1", SEEN)


def test_a_damaged_append_is_named(tmp_path: Path) -> None:
    """It is the one that cannot be read, not the first of the stream."""
    with refold.open(tmp_path / "a.db") as store:
        for _ in range(4):
            store.append("call-1", [refold.Event("noted")] * 2)
        with backend_of(store)._reading() as connection:
            connection.execute("UPDATE log SET body = '[[\"noted\"' WHERE version = 4")
        with pytest.raises(Corrupt) as refused:
            store.fold("call-1", SEEN)
        assert refused.value.facts["version"] == 4


def test_a_stream_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    """Nor one that is no text, or whose name no row can have."""
    with refold.open(tmp_path / "a.db") as store:
        for name in ("call-1", "call-\ud800"):
            with pytest.raises(NotFound):
                store.fold(name, SEEN)
        for wrong in (5, ["call-1"], None):
            with pytest.raises(UsageError):
                store.fold(wrong, SEEN)  # type: ignore[arg-type]
