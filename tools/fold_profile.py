"""Where the time of a fold of one long conversation goes, a step of the way each.

``python -m tools.fold_profile [TURNS]`` prints microseconds of processor time an event, the least
of several runs, each part beside the fold that it is part of: two cores that others use make any
one figure half as large again.
"""

from __future__ import annotations

import copy
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import msgspec

import refold
from bench.dialogues import EVENTS_A_TURN, events
from refold.conversation import Conversation
from refold.core.registry import default_registry
from refold.engine.lineage import lineage, rows_in

RUNS = 9
POOL = 6_000


def main(turns: int = 2_000) -> None:
    """Append so many turns to a store of its own, and print the parts of their fold."""
    classes = {kind.tag: default_registry.class_of(kind) for kind in default_registry.kinds()}
    pool = [msgspec.convert(made.data, classes[made.type]) for made in events(POOL)]
    whole = copy.copy(Conversation)
    whole.state_type = None  # No snapshots.
    with (
        tempfile.TemporaryDirectory() as folder,
        refold.open(Path(folder, "a.db"), synchronous="NORMAL") as store,
    ):
        for turn in range(turns):
            start = turn * EVENTS_A_TURN % POOL
            store.append("call-1", pool[start : start + EVENTS_A_TURN])
        (stretch,) = lineage(store._backend, "call-1")
        rows = list(rows_in(store._backend, stretch))
        expected = store.fold("call-1", whole)
        decode = whole._dispatch().decode.known.bodies
        pieces = [piece for row in rows for piece in row.pieces()]
        decoded = [event for piece in pieces for event in chain.from_iterable(decode(piece))]

        def stepped() -> None:
            state = whole.initial()
            for event in decoded:
                if event.place is not None:
                    state = event.place(state, event.data, "call-1@1", 0)
            assert len(state.transcript) == len(expected.state.transcript)

        def over() -> None:
            state = whole.initial()
            for row in rows:
                state = whole.over(state, row, first=0, last=stretch.last)

        count = len(decoded)
        _show("the fold", lambda: store.fold("call-1", whole), count)
        _show("  fetching pages", lambda: list(rows_in(store._backend, stretch)), count)
        _show("  rows to the state", over, count)
        _show("    decoding, each piece dropped", lambda: _each(decode, pieces), count)
        _show("    the same, all of it kept", lambda: [decode(piece) for piece in pieces], count)
        _show("    the steps alone", stepped, count)


def _each(decode: Callable[[bytes], object], pieces: list[bytes]) -> None:
    for piece in pieces:
        decode(piece)


def _show(name: str, work: Callable[[], object], count: int) -> None:
    taken: list[float] = []
    for _ in range(RUNS):
        begin = time.process_time()
        work()
        taken.append(time.process_time() - begin)
    print(f"{name:34} {min(taken) / count * 1e6:6.2f} µs")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
