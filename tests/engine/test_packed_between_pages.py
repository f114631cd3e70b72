"""A compaction that comes between two pages of a stream.

Found in review: the next page then began with a segment that held events of the page before, and
reads, folds and the snapshots that they leave counted these twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold

EVENTS = 60


class Seen(msgspec.Struct):
    count: int = 0


FOLD: refold.Fold[Seen] = refold.Fold("seen", Seen)


@FOLD.on("test.numbered")
def numbered(state: Seen, _event: object) -> Seen:
    return Seen(state.count + 1)


@pytest.fixture(params=[1, 3])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> refold.Store:
    """Appends of one or of three events, read in pages of 7 and packed by 10."""
    monkeypatch.setattr("refold.engine.lineage.EVENTS_PER_PAGE", 7)
    monkeypatch.setattr("refold.backends.sqlite.compaction.EVENTS_PER_SEGMENT", 10)
    for module in ("refold.core.snapshot", "refold.engine.snapshots"):
        monkeypatch.setattr(f"{module}.EVENTS_BETWEEN_MIN", 13)
    opened = refold.open(tmp_path / "log.db")
    request.addfinalizer(opened.close)
    grow(opened, EVENTS // request.param, request.param)
    return opened


def grow(store: refold.Store, appends: int, size: int) -> None:
    """Append events to the stream."""
    for _ in range(appends):
        store.append("test-1", [refold.Event("test.numbered", {})] * size)


def test_a_read_goes_on_where_it_was(store: refold.Store) -> None:
    """Forward, whenever the compaction comes."""
    for after in range(0, EVENTS, 5):
        grow(store, 9, 1)
        seen = []
        for event in store.read("test-1"):
            seen.append(event.version)
            if len(seen) == after + 1:
                store.compact()
        assert seen == list(range(store.head("test-1") + 1))


def test_a_read_goes_back_from_where_it_was(store: refold.Store) -> None:
    """Backward, with events that come meanwhile and are packed too."""
    for after in range(0, EVENTS, 5):
        grow(store, 9, 1)
        head = store.head("test-1")
        seen = []
        for event in store.read("test-1", direction="backward"):
            seen.append(event.version)
            if len(seen) == after + 1:
                grow(store, 12, 1)
                store.compact()
        assert seen == list(range(head, -1, -1))


@pytest.mark.parametrize("is_snapshotted", [False, True])
@pytest.mark.parametrize("page", range(3))
def test_a_fold_and_its_snapshots_count_each_event_once(
    store: refold.Store, is_snapshotted: bool, page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both with and without snapshots on the way, and from those that it left."""
    backend = store._backend
    read, pages = backend.rows, iter(range(100))

    def packing(*args: Any, **options: Any) -> object:
        rows = read(*args, **options)
        if next(pages) == page:
            store.compact()
        return rows

    whole: refold.Fold[int] = refold.Fold("whole", lambda: 0)
    whole.on("test.numbered")(lambda state, _event: state + 1)
    store.fold("test-1", whole, version=2)  # Its kinds are known from now on.
    monkeypatch.setattr(backend, "rows", packing)
    if not is_snapshotted:
        assert store.fold("test-1", whole).state == EVENTS
    assert store.fold("test-1", FOLD).state.count == EVENTS
    assert store.fold("test-1", FOLD).state.count == EVENTS
    for version in range(0, EVENTS, 4):
        assert store.fold("test-1", FOLD, version=version).state.count == version + 1
