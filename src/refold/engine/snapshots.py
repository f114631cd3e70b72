"""Where a fold starts, and what it leaves behind for the next one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from refold.core.expected import NO_EVENTS
from refold.core.fold import Fold, Folded
from refold.core.snapshot import (
    EVENTS_BETWEEN_MIN,
    Reached,
    Snapshot,
    Snapshotter,
    events_until_next,
    snapshotter_of,
)
from refold.engine.reading import NO_LAST, Segment
from refold.ports import Backend, SnapshotKeeper

S = TypeVar("S")

KEPT_AT_ONCE: Final = 64


class NoSnapshots(Generic[S]):
    """A run of a fold that starts at the beginning and leaves nothing."""

    due: int = NO_LAST
    """The version from which the next snapshot is to be taken."""

    def __init__(self, fold: Fold[S]) -> None:
        self._fold = fold

    def start(self, segments: Sequence[Segment]) -> Reached[S]:  # noqa: ARG002
        """Where to start within the segments."""
        return Reached(Folded(self._fold.initial(), NO_EVENTS, 0))

    def passed(self, stream: str, reached: Reached[S]) -> None:
        """Called where the run has come to ``due``."""

    def keep(self) -> None:
        """Called at the end of the run."""


class Snapshots(NoSnapshots[S]):
    """A run of a fold that starts at the newest snapshot and leaves new ones at intervals."""

    def __init__(self, fold: Fold[S], keeper: SnapshotKeeper, snapshotter: Snapshotter[S]) -> None:
        super().__init__(fold)
        self._keeper = keeper
        self._snapshotter = snapshotter
        self._taken: list[Snapshot] = []
        self.due = EVENTS_BETWEEN_MIN - 1

    def start(self, segments: Sequence[Segment]) -> Reached[S]:
        """The newest snapshot within the segments, else the initial state."""
        if segments and segments[-1].last >= self.due:
            for segment in reversed(segments):
                snapshot = self._newest(segment)
                reached = self._snapshotter.restored(snapshot) if snapshot else None
                if snapshot is not None and reached is not None:
                    self.due = snapshot.version + events_until_next(snapshot.state)
                    return reached
        return super().start(segments)

    def passed(self, stream: str, reached: Reached[S]) -> None:
        """Take a snapshot: the run has crossed the interval since the last one."""
        snapshot = self._snapshotter.take(stream, reached)
        if snapshot is None:
            self.due = NO_LAST
            return
        self.due = snapshot.version + events_until_next(snapshot.state)
        if self._taken and self._taken[-1].stream != stream:
            self.keep()
        self._taken.append(snapshot)
        if len(self._taken) == KEPT_AT_ONCE:
            self.keep()

    def keep(self) -> None:
        """Hand what was taken to the backend."""
        if self._taken:
            self._keeper.keep_snapshots(self._taken)
            self._taken = []

    def _newest(self, segment: Segment) -> Snapshot | None:
        snapshot = self._keeper.snapshot(
            segment.stream,
            fold=self._fold.name,
            fingerprint=self._snapshotter.fingerprint,
            last=segment.last,
        )
        return snapshot if snapshot is not None and snapshot.version >= segment.first else None


def snapshots_for(backend: Backend, fold: Fold[S]) -> NoSnapshots[S]:
    """The snapshots around one run of a fold, where there can be any."""
    snapshotter = snapshotter_of(fold)
    if snapshotter is None or not isinstance(backend, SnapshotKeeper):
        return NoSnapshots(fold)
    return Snapshots(fold, backend, snapshotter)
