"""Months of a shared log: listed, made ahead, archived, taken out and brought back.

For a store in PostgreSQL, which keeps each month in a partition. A month that was taken out is
known: positions, streams, keys and expected versions stay as they are, and whoever reads what was
in it gets an error that says where it is, or reads on in its archive (``?archive=FOLDER`` in the
address).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, get_args

from refold.archive.archiving import Format, archive_month, index_of
from refold.archive.manifest import Manifest, check_files, read_manifest
from refold.archive.month import DEFAULT, KeepsMonths, Month, MonthPlace, bounds_of
from refold.core.clock import rfc3339
from refold.engine.checks import check_path
from refold.engine.store import Store
from refold.errors import NotFound, UsageError, refuse_unless

__all__ = ["Month", "Partitions"]

MONTHS_MAX: Final = 120


class Partitions:
    """The months of a store; :class:`~refold.errors.UsageError` where it keeps none apart."""

    def __init__(self, store: Store) -> None:
        refuse_unless(isinstance(store, Store), "an open refold.Store", store=store)
        if not isinstance(store._backend, KeepsMonths):
            why = "only a store in PostgreSQL has partitions: `refold compact` packs what is old"
            raise UsageError(f"{why} in a file")
        self._keeper = store._backend.month_keeper

    def months(self, *only: str) -> list[Month]:
        """The months in order, or those named; at last the default one, which should hold nothing.

        What a month holds is counted, where it was neither archived nor taken out yet.
        """
        return self._keeper.months(*only)

    def create(self, months: int) -> list[str]:
        """Make the partitions of this month and of so many more; move there what stands in none.

        Gives the months that were made. Nobody reads or appends while rows move. Here and below,
        :class:`~refold.errors.Unavailable` where another process changes months just then.
        """
        whole = isinstance(months, int) and 0 <= months <= MONTHS_MAX
        refuse_unless(whole, f"a number of months up to {MONTHS_MAX}", months=months)
        return self._keeper.make_months(months)

    def archive(
        self,
        before: str,
        to: str | os.PathLike[str],
        *,
        format: Format = "packed",
        progress: Callable[[str, int], object] | None = None,
    ) -> list[Month]:
        """Write every month before one (``2026-01``) to a folder, read it back and compare it.

        Months that are archived already are left as they are. ``format``: ``packed``, or
        ``parquet`` with the extra ``export``. ``progress`` gets a month and how many of its events
        were compared. Raises :class:`~refold.errors.UsageError` where something
        could still be recorded in one of them, :class:`~refold.errors.Corrupt` where what was read
        back is not what is stored: then nothing of it counts. All tenants' events are archived.
        """
        check_path(to=to)
        refuse_unless(format in get_args(Format), "packed or parquet", format=format)
        with self._keeper.changing():
            old = self._old(bounds_of(before)[0])
            for one in old:
                if one.manifest is None:
                    told = partial(progress or (lambda *_: None), one.month)
                    archive_month(self._keeper, one.month, Path(to), kept_as=format, told=told)
        return self.months(*(one.month for one in old)) if old else []

    def detach(self, month: str) -> None:
        """Take a month that is over out of the log; :meth:`attach` brings it back.

        Appends and readers go on: it waits for them a moment at a time, and gives up with
        :class:`~refold.errors.Unavailable` where one holds the log for long: then the month stays,
        and is closed for good.
        """
        if self._of(month).state == "attached":
            self._keeper.detach_month(month)

    def attach(self, month: str, *, archive: str | os.PathLike[str] | None = None) -> None:
        """Bring a month back into the log: its table, or where that was dropped, its archive.

        ``archive`` is the folder, by default the one that it was written to.
        """
        one = self._of(month)
        if one.state == "attached":
            return
        if one.state == "detached":
            self._keeper.attach_month(month, ())
            return
        index = index_of(*self._archived(one, archive))
        with closing(index):
            self._keeper.attach_month(month, index.appends())

    def drop(self, month: str, *, archive: str | os.PathLike[str] | None = None) -> None:
        """Drop a month that was archived, after every file of its archive was hashed again.

        :class:`~refold.errors.UsageError` where it was not archived; where its archive or its table
        is not what left the log, :class:`~refold.errors.Corrupt`.
        """
        one = self._of(month)
        if one.manifest is None:
            why = f"{month} was not archived, so it is not dropped"
            raise UsageError(f"{why}: `refold archive --before {_after(month)} --to FOLDER` first")
        _, manifest = self._archived(one, archive)
        if one.state != "dropped":
            self.detach(month)
            self._keeper.drop_month(month, manifest.runs)

    def _of(self, month: str) -> MonthPlace:
        bounds_of(month)
        found = next((one for one in self._keeper.places() if one.month == month), None)
        if found is None:
            raise NotFound(f"the store has no partition {month}", month=month)
        return found

    def _old(self, until: int) -> Sequence[MonthPlace]:
        """The months before a time that have a table; refused where one of them is not over."""
        found = [one for one in self._keeper.places() if one.month != DEFAULT]
        old = [one for one in found if one.state != "dropped" and bounds_of(one.month)[0] < until]
        if old:
            self._keeper.close_month(old[-1].month)
        return old

    def _archived(
        self, one: MonthPlace, folder: str | os.PathLike[str] | None
    ) -> tuple[Path, Manifest]:
        """Where a month is archived, and what says which files it has, each of which was hashed."""
        if one.manifest is None or one.folder is None:
            why = f"the table of {one.month} is gone, and it was never archived"
            raise NotFound(f"{why}: restore the store from a backup", month=one.month)
        if folder is not None:
            check_path(archive=folder)
        place = Path(folder or one.folder)
        manifest = read_manifest(place, one.month, one.manifest)
        check_files(place, manifest)
        return place, manifest


def _after(month: str) -> str:
    """The month after one."""
    return rfc3339(bounds_of(month)[1])[:7]
