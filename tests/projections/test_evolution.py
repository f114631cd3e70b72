"""Projections of old events: split, upcast and retired as folds see them; changes are noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import Event, Recorded, Registry
from refold.errors import UsageError
from refold.projections import Projection, Projector, Rows, Table
from tests.support.reloading import reloaded


class Seen(msgspec.Struct):
    """One event as the projection got it: its place, and which part of it."""

    position: int
    type: str
    data: str


SEEN = Table("seen", Seen, key=("position", "type"))


def seen(registry: Registry) -> Projection:
    """Notes all that its handlers are given."""
    projection = Projection("seen", tables=[SEEN], registry=registry)

    @projection.on("room.booked", "payment.taken", "mood.guessed", "booking.made")
    def _seen(rows: Rows, event: dict[str, Any], recorded: Recorded) -> None:
        rows.put(SEEN, Seen(recorded.position, recorded.type, str(event)))

    return projection


def bookings(*changes: Callable[[Registry], object]) -> Registry:
    """A booking is two events today, and prices are in cents."""
    registry = Registry()
    registry.upcast("booking.made", schema=1, into=["room.booked", "payment.taken"])(
        reloaded(
            "split",
            lambda data: [
                Event("room.booked", {"room": data["room"]}),
                Event("payment.taken", {"euros": data["euros"]}),
            ],
        )
    )
    registry.upcast("payment.taken", schema=1)(
        reloaded("cents", lambda data: {"cents": data["euros"] * 100})
    )
    registry.retire("mood.guessed", reason="it was never right")
    for change in changes:
        change(registry)
    return registry


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log of before any of this was so."""
    path = tmp_path / "a.db"
    with refold.open(path, registry=Registry()) as store:
        store.append("b-1", [Event("booking.made", {"room": "7", "euros": 5})])
        store.append("b-1", [Event("mood.guessed", {"mood": "fine"}), Event("other", {})])
        store.append("b-2", [Event("payment.taken", {"euros": 6})])
        store.append("b-2", [Event("payment.taken.v2", {"cents": 7})])
    return path


Found = list[tuple[int, str, str]]


def rows(store: refold.Store, projection: Projection) -> Found:
    """The rows of the projection, caught up."""
    projector = Projector(store, [projection])
    try:
        projector.catch_up()
        return sorted((row.position, row.type, row.data) for row in projector.rows(SEEN))
    finally:
        projector.close()


def folded(store: refold.Store, registry: Registry) -> Found:
    """The same by a fold."""
    fold: refold.Fold[Found] = refold.Fold("seen", list, registry=registry)

    @fold.on("room.booked", "payment.taken", "mood.guessed", "booking.made")
    def _(state: Found, event: dict[str, Any], recorded: Recorded) -> Found:
        return [*state, (recorded.position, recorded.type, str(event))]

    return sorted(fold.run(store.read_all()).state)


def test_a_projection_sees_what_a_fold_sees(path: Path) -> None:
    """The parts of a split event, upcast by their own upcasters, and nothing that is retired."""
    registry = bookings()
    with refold.open(path, registry=registry) as store:
        found = rows(store, seen(registry))
        assert found == folded(store, registry)
    assert found == [
        (1, "payment.taken", "{'cents': 500}"),
        (1, "room.booked", "{'room': '7'}"),
        (4, "payment.taken", "{'cents': 600}"),
        (5, "payment.taken", "{'cents': 7}"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda r: r.upcast("payment.taken", schema=1)(
                reloaded("cents", lambda data: {"cents": 0})
            ),
            id="an upcaster changed",
        ),
        pytest.param(
            lambda r: r.upcast("room.booked", schema=1)(lambda data: data), id="an upcaster added"
        ),
        pytest.param(
            lambda r: r.upcast("other", schema=1, into=["room.booked"])(lambda data: []),
            id="a split added",
        ),
        pytest.param(
            lambda r: r.upcast("booking.made", schema=1, into=["room.booked"])(
                reloaded("split", lambda data: [])
            ),
            id="a split changed",
        ),
        pytest.param(lambda r: r.retire("room.booked", reason="r"), id="a type retired"),
    ],
)
def test_a_projection_notices_a_change(path: Path, change: Callable[[Registry], object]) -> None:
    """Its rows would be others; one that does not lead to its handlers changes nothing."""
    with refold.open(path, registry=bookings()) as store:
        rows(store, seen(bookings()))
    unrelated = bookings(lambda r: r.upcast("other", schema=1)(lambda data: data))
    with refold.open(path, registry=unrelated) as store:
        rows(store, seen(unrelated))
    registry = bookings(change)
    with refold.open(path, registry=registry) as store, pytest.raises(UsageError) as caught:
        rows(store, seen(registry))
    assert caught.value.code == "projection_changed"
