"""A row that says it holds more events than it does.

Found by fuzzing stored cells: a count of 2⁶⁰ made a fold take snapshots for ever.
"""

from __future__ import annotations

import pytest

from refold.core.codec import encode_body, row_of
from refold.core.event import Event, default_registry
from refold.core.fold import Fold
from refold.core.stepper import stepper_of
from refold.errors import Corrupt


@pytest.mark.parametrize("count", [0, 1, 3, 2**60])
def test_a_wrong_count_of_events_is_corrupt(count: int) -> None:
    """Also where every event has a class and is decoded at once."""
    fold: Fold[int] = Fold("count", int)
    fold.on("test.counted")(lambda state, _event: state + 1)
    body = encode_body([Event("test.counted", {})] * 2, default_registry)
    row = row_of(body, position=1, stream="call-1", version=0, recorded_at=0)
    assert stepper_of(fold).apply(0, row, first=0, last=1) == 2
    with pytest.raises(Corrupt):
        stepper_of(fold).decoded(row._replace(event_count=count))
