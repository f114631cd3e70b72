"""Where a fold starts, and what it leaves behind for the next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

from refold.core.clock import EARLIEST_US
from refold.core.expected import NO_EVENTS
from refold.core.fold import Fold, Folded
from refold.core.snapshot import EVENTS_BETWEEN_MIN, Snapshot, next_due, snapshotter_of
from refold.core.stored import Row
from refold.engine.lineage import NO_LAST, Stretch
from refold.ports import SnapshotKeeper

S = TypeVar("S")

KEPT_AT_ONCE: Final = 64


class Snapshots(Generic[S]):
    """A run of a fold that starts at the newest snapshot and leaves new ones at intervals.

    Where there can be none, it starts at the beginning and leaves nothing.
    """

    due: int = NO_LAST
    """The version after which the next one is to be taken."""
    occurred_to: int = EARLIEST_US
    """The latest ``occurred_at`` of what went in."""
    in_order: bool = True
    """Whether no append held an event that had occurred before one of an earlier append."""

    def __init__(self, fold: Fold[S], keeper: SnapshotKeeper | None) -> None:
        self._fold = fold
        self._keeper = keeper
        self._snapshotter = None if keeper is None else snapshotter_of(fold)
        self._taken: list[Snapshot] = []
        self._last = NO_EVENTS
        if self._snapshotter is not None:
            self.due = EVENTS_BETWEEN_MIN - 1

    def start(self, stretches: Sequence[Stretch]) -> Folded[S]:
        """The newest snapshot within the stretches, else the initial state."""
        self._last = stretches[-1].last if stretches else NO_EVENTS
        if self._keeper is not None and self._snapshotter is not None and self._last >= self.due:
            wanted = {"fold": self._fold.name, "fingerprint": self._snapshotter.fingerprint}
            for stream, first, last in reversed(stretches):
                found = self._keeper.snapshot(stream, last=last, **wanted)
                state = self._snapshotter.restored(found) if found else None
                if found is not None and found.version >= first and state is not None:
                    self.occurred_to, self.in_order = found.occurred_to, bool(found.in_order)
                    self.due = next_due(found)
                    return Folded(state, found.version, found.position)
        return Folded(self._fold.initial(), NO_EVENTS, 0)

    def passed(self, state: S, row: Row, *, first: int, last: int) -> None:
        """The run has come past versions of a row: take a snapshot where that is due.

        Times are those of the appends that begin there: one that begins before was counted then.
        """
        if self.due > self._last:
            return
        for earliest, latest in row.spans(first=first, last=last):
            self.in_order = self.in_order and earliest >= self.occurred_to
            self.occurred_to = max(self.occurred_to, latest)
        if last == self.due:
            self._take(row.stream, Folded(state, last, row.position_of(last)))

    def _take(self, stream: str, folded: Folded[S]) -> None:
        times: dict[str, Any] = {"occurred_to": self.occurred_to, "in_order": self.in_order}
        snapshot = self._snapshotter.take(stream, folded, **times) if self._snapshotter else None
        self.due = next_due(snapshot) if snapshot else NO_LAST
        if len(self._taken) >= KEPT_AT_ONCE or (self._taken and self._taken[-1].stream != stream):
            self.keep()
        if snapshot is not None:
            self._taken.append(snapshot)

    def keep(self) -> None:
        """Hand what was taken to the backend."""
        if self._taken and self._keeper is not None:
            self._keeper.keep_snapshots(self._taken)
            self._taken = []
