"""Looking after the storage: diagnosis, compaction, sizes, backups, repair."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from refold import ports
from refold.core.clock import Instant, to_us
from refold.engine.checks import check_path, check_progress
from refold.engine.copying import copy_log
from refold.engine.moments import position_known
from refold.errors import UsageError, refuse_unless

_NO_DATABASE = "a journal is copied and measured as any file, and PostgreSQL has pg_dump"


class Upkeep:
    """What a store can do for its storage; what a kind of storage lacks is refused."""

    _backend: ports.Backend
    _said_behind: bool = False
    """Whether it was told that the clock stands behind the log."""

    def check(self) -> Iterator[ports.Check]:
        """Diagnose the storage: one line a thing looked at, its outcome and detail."""
        if not isinstance(self._backend, ports.Checkable):
            raise UsageError("this kind of store has nothing to check")
        return self._backend.check()

    def compact(
        self,
        *,
        recorded_before: Instant | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> ports.Packed:
        """Pack old appends, which then take a third of the room or less; see ``docs/format.md``.

        Packs what was recorded before a moment (default: everything but the last append) and
        changes nothing that can be read. Writers and readers go on meanwhile; it may be killed at
        any moment. ``progress`` gets the events done and those in all.
        """
        if not isinstance(self._backend, ports.Compactor):
            raise UsageError("nothing to compact here: in PostgreSQL `refold archive` packs months")
        check_progress(progress)
        until = self._backend.log_head()
        if recorded_before is not None:
            until = position_known(self._backend, to_us(recorded_before) - 1)
        return self._backend.compact(until=until, progress=progress or (lambda *_: None))

    def copy_into(
        self, other: Upkeep, *, progress: Callable[[int, int], None] | None = None
    ) -> int:
        """Store the whole log in another store; how many events that were.

        Events, versions, positions, times, branches and keys are the same there, which is compared
        at the end. One that was cut off goes on where it was; a store that holds anything else is
        refused. ``progress`` gets the events done and those in all. What stands beside a log, such
        as read models, is made there from it.
        """
        refuse_unless(isinstance(other, Upkeep), "an open refold.Store", other=other)
        check_progress(progress)
        return copy_log(self._backend, other._backend, progress or (lambda *_: None))

    def sizes(self) -> list[ports.PartSize]:
        """What each part of the storage takes, in bytes, and the events in it."""
        keeper = self._backend if isinstance(self._backend, ports.Measured) else self._maintained()
        return keeper.sizes()

    def backup(self, path: str | os.PathLike[str]) -> int:
        """Copy the log as it stands to a new file, complete and synced; its size in bytes.

        Writers go on meanwhile. To restore one, open it and back it up to where it belongs.
        Raises :class:`~refold.errors.UsageError` when the file exists.
        """
        check_path(path=path)
        return self._maintained().copy_to(Path(path))

    def repair(self) -> Iterator[str]:
        """Make again what can be made from the log, which is never touched; says what it did."""
        return self._maintained().repair()

    def _maintained(self) -> ports.Maintained:
        if not isinstance(self._backend, ports.Maintained):
            raise UsageError(_NO_DATABASE)
        return self._backend
