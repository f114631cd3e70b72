"""Moments that were once wrong, found by the stateful model; each test tells which."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import refold
from refold.core.event import Event
from refold.core.fold import Fold
from refold.core.registry import Registry
from refold.engine.store import Store
from tests.conformance.suites import HandClock

REGISTRY = Registry()


class Numbers(msgspec.Struct, frozen=True):
    """The numbers that were met, in order."""

    numbers: tuple[int, ...] = ()


LIST = Fold("list", Numbers, registry=REGISTRY)
LIST.on("test.n")(lambda state, event: Numbers((*state.numbers, event["n"])))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that leaves snapshots after three events, at the time of 10."""
    monkeypatch.setattr("refold.engine.snapshots.EVENTS_BETWEEN_MIN", 3)
    monkeypatch.setattr("refold.core.snapshot.EVENTS_BETWEEN_MIN", 3)
    with refold.open(tmp_path / "log.db", registry=REGISTRY, clock=HandClock(10)) as opened:
        yield opened


def append(store: Store, *numbers: int, occurred_at: int | None = None) -> None:
    """Events with these numbers, in one append."""
    store.append("call-1", [Event("test.n", {"n": n}, occurred_at=occurred_at) for n in numbers])


def known(store: Store, stream: str, until: int) -> tuple[int, ...]:
    """The numbers that had occurred by an instant."""
    return store.fold(stream, LIST, occurred_until=until).state.numbers


def test_a_snapshot_on_the_way_of_a_page(store: Store) -> None:
    """A page that goes on to a later time than the snapshot in its middle stands for.

    Then everything before the snapshot had occurred, and the search for the event in between
    found none and failed.
    """
    append(store, 0, 1, 2)
    append(store, 3, occurred_at=27)
    append(store, 4, occurred_at=27)
    assert store.fold("call-1", LIST).version == 4
    assert store.fold("call-1", LIST, version=2, occurred_until=10).state.numbers == (0, 1, 2)
    assert known(store, "call-1", 10) == (0, 1, 2)
    assert known(store, "call-1", 27) == (0, 1, 2, 3, 4)


def test_a_fork_inside_a_packed_row(store: Store) -> None:
    """A packed row of the parent goes on, after the fork, to times later than its part before it.

    The branch's own events were left out from there to the snapshot, though they had occurred.
    """
    append(store, 0, 1, 2)
    append(store, 3, occurred_at=11)
    append(store, 4, occurred_at=11)
    store.branch("call-1").without("call-1@1").save("call-1~b")
    assert store.fold("call-1~b", LIST).state.numbers == (0, 2, 3, 4)
    store.compact()
    assert known(store, "call-1~b", 10) == (0, 2)
    assert known(store, "call-1~b", 11) == (0, 2, 3, 4)
    assert known(store, "call-1", 10) == (0, 1, 2)


def test_a_fork_inside_an_append_that_had_occurred(store: Store) -> None:
    """The parent's append goes on after the fork; the branch's own events there come later."""
    append(store, 0)
    append(store, 1)
    append(store, 2, 3, 4, 5, 6, 7)
    later = [Event("test.n", {"n": 90 + n}, occurred_at=30) for n in range(4)]
    store.branch("call-1", at=3).adding(*later).save("call-1~b")
    assert store.fold("call-1~b", LIST).version == 8
    assert known(store, "call-1~b", 10) == (0, 1, 2, 3)
    assert known(store, "call-1~b", 30) == (0, 1, 2, 3, 90, 91, 92, 93)
