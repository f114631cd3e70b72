"""A row that says it holds more events than it does, and rows that must be looked into.

The first was found by fuzzing stored cells: a count of 2⁶⁰ made a fold take snapshots for ever.
"""

from __future__ import annotations

import pytest

from refold.core.encode import encode_body, row_of
from refold.core.event import Event
from refold.core.fold import Fold
from refold.core.registry import Registry, default_registry
from refold.core.stored import SEPARATOR, Row
from refold.errors import Corrupt


@pytest.mark.parametrize("count", [0, 1, 3, 2**60])
def test_a_wrong_count_of_events_is_corrupt(count: int) -> None:
    """Also where every event has a class and is decoded at once."""
    fold: Fold[int] = Fold("count", int)
    fold.on("test.counted")(lambda state, _event: state + 1)
    body = encode_body([Event("test.counted", {})] * 2, default_registry)
    row = row_of(body, position=1, stream="call-1", version=0, recorded_at=0)
    assert fold.over(0, row, first=0, last=1) == 2
    wrong = row._replace(event_count=count)
    with pytest.raises(Corrupt):
        fold.over(0, wrong, first=0, last=2**62)


def test_what_is_not_met_yet_stops_the_fast_way_where_it_stands() -> None:
    """A kind that comes up in the midst of joined appends: each event is folded once."""
    registry = Registry()
    fold: Fold[list[int]] = Fold("seen", list, registry=registry)
    fold.on("test.seen")(lambda state, event: [*state, event["n"]])
    fold.on("test.new")(lambda state, event: [*state, -event["n"]])

    def row_with(types: list[str]) -> Row:
        events = [[Event(name, {"n": n})] * 2 for n, name in enumerate(types)]
        bodies = [encode_body(two, registry).text.encode() for two in events]
        parts = ",".join(f"[{1 + 2 * n},2,0]" for n in range(len(types)))
        place = (1, "call-1", 0, 2 * len(types), 0, None)
        body = SEPARATOR.join(bodies)
        return Row(*place, body, packed_parts=f"[{parts}]".encode(), joined=True)

    assert fold.over([], row_with(["test.seen"] * 3), first=0, last=9) == [0, 0, 1, 1, 2, 2]
    mixed = row_with(["test.seen", "test.new", "test.seen"])
    assert fold.over([], mixed, first=0, last=9) == [0, 0, -1, -1, 2, 2]
    assert fold.over([], mixed, first=1, last=4) == [0, -1, -1, 2]
