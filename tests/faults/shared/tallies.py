"""A projection that any history can be checked against: of each stream how many events, and a trail
that depends on every one of them and on their order."""

from __future__ import annotations

from typing import Any

import msgspec

from refold import Recorded
from refold.projections import Projection, Rows, Table
from tests.faults.shared.evidence import next_trail


class Tallied(msgspec.Struct):
    """What a stream came to."""

    stream: str
    events: int = 0
    trail: int = 0


def tally(name: str) -> Projection:
    """The projection, with a table of its own: its name and ``_streams``."""
    table = Table(f"{name}_streams", Tallied, key="stream")
    made = Projection(name, tables=[table])

    @made.on_every
    def _every(rows: Rows, recorded: Recorded) -> None:
        row = rows.get(table, recorded.stream) or Tallied(recorded.stream)
        row.events += 1
        row.trail = next_trail(row.trail, recorded.version, op_of(recorded), n_of(recorded.data))
        rows.put(table, row)

    return made


def op_of(recorded: Recorded) -> str:
    """Which append an event is of."""
    return str(recorded.metadata["op"])


def n_of(data: Any) -> int:
    """Which of the events of its append it says it is."""
    return int(data.get("n", 0))
