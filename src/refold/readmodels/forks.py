"""The read model ``branches``: which branches leave a stream, and where."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from refold.core.history import SessionForked
from refold.core.recorded import Recorded
from refold.projections import Projection, Rows, Table


class BranchRow(msgspec.Struct):
    """A branch, and the last version that it shares with its parent; -1: none.

    ``changed`` is the label of what was changed in it, else the names of that.
    """

    stream: str
    parent: str
    version: int
    changed: str | None = None


BRANCHES: Final = Table(
    "branches", BranchRow, key=("stream",), indexes=[("parent", "version", "stream")]
)
branches: Final = Projection("branches", tables=[BRANCHES])
"""One row a branch, of what happened and of replays alike."""


@branches.on(SessionForked)
def _forked(rows: Rows, event: SessionForked, recorded: Recorded) -> None:
    place = event.from_stream, event.from_version
    rows.put(BRANCHES, BranchRow(recorded.stream, *place, _changed(event.variant)))


def _changed(variant: Any) -> str | None:
    match variant:
        case {"label": str(label)} if label:
            return label
        case dict():
            return ", ".join(sorted(variant)) or None
    return None
