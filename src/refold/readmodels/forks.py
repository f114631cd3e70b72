"""The read model ``branches``: which branches leave a stream, and where."""

from __future__ import annotations

from typing import Final

import msgspec

from refold.core.history import SessionForked
from refold.core.recorded import Recorded
from refold.projections import Projection, Rows, Table


class BranchRow(msgspec.Struct):
    """A branch, and the last version that it shares with its parent; -1: none."""

    stream: str
    parent: str
    version: int


BRANCHES: Final = Table(
    "branches", BranchRow, key=("stream",), indexes=[("parent", "version", "stream")]
)
branches: Final = Projection("branches", tables=[BRANCHES])
"""One row a branch, of what happened and of replays alike."""


@branches.on(SessionForked)
def _forked(rows: Rows, event: SessionForked, recorded: Recorded) -> None:
    rows.put(BRANCHES, BranchRow(recorded.stream, event.from_stream, event.from_version))
