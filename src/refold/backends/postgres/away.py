"""What is no longer in the log: read from an archive, where its folder was given, or told of.

A reader who meets a month that was taken out gets what stood there or an error, never less than
there was. Each file is hashed when the first reader comes to its month.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from typing import NoReturn

from refold.archive.archiving import archived_month
from refold.archive.month import ArchivedAppend
from refold.archive.packed import MonthIndex
from refold.backends.postgres.queries import DetachedRun
from refold.backends.postgres.session import Sessions
from refold.core.stored import Row, decode_body
from refold.errors import BackendError, NotFound


class DetachedMonths:
    """Those of a log, as their archive has them; the address says where that is, if it does."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions, self._address = sessions, sessions.address
        self._lock = threading.Lock()
        self._opened: dict[str, tuple[str, MonthIndex]] = {}

    def rows(self, stream: str, *, first: int, last: int) -> list[Row]:
        """The appends of a stream that overlap two versions, of all months that it stands in."""
        tenant = self._address.tenant
        found = self._sessions.retried(lambda session: session.run("detached_of", tenant, stream))
        months = [self.month(month) for (month,) in found]
        appends = [
            one
            for month in months
            for one in month.of_stream(tenant, stream, first=first, last=last)
        ]
        # The clock may have gone back: then a later month holds earlier versions.
        return [one.row for one in sorted(appends, key=attrgetter("version"))]

    def log(
        self,
        run: DetachedRun,
        *,
        after: int = 0,
        categories: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
    ) -> Iterator[ArchivedAppend]:
        """The appends of a run that hold positions over one, narrowed."""
        place = {"after": max(after, run.first - 1), "last": run.last}
        month, tenant = self.month(run.month), self._address.tenant
        return month.log(tenant, **place, categories=categories, types=types)

    def month(self, month: str) -> MonthIndex:
        """What is archived of a month; :class:`~refold.errors.BackendError` where it is not here.

        Raises :class:`~refold.errors.Corrupt` for a file that is not what was written.
        """
        with self._lock:
            known = self._sessions.retried(lambda session: session.run("archived", month))
            folder, manifest = known[0] if known else (None, None)
            sha256, found = self._opened.get(month, (None, None))
            if found is None or sha256 != manifest:
                if self._address.archive is None or manifest is None:
                    self._refuse(month, folder)
                try:
                    found = archived_month(Path(self._address.archive), month, manifest)
                except NotFound as error:
                    # Of a reader who asks for a stream it would say that there is none.
                    raise BackendError(
                        error.message, code="archive_missing", month=month
                    ) from error
                # Who reads the one before it, which was replaced, reads it to its end.
                self._opened[month] = manifest, found
            return found

    def told(self, month: str) -> str:
        """Where a month is, in words; read from end to end where its archive is here."""
        try:
            archived = self.month(month)
        except BackendError as error:
            if error.code != "month_detached":
                raise
            return "not archived" if "folder" not in error.facts else f"archived in {error.folder}"
        events = sum(len(decode_body(one.body)) for one in archived.appends())
        return f"{events} events of all tenants read from {self._address.archive}"

    def close(self) -> None:
        """Let go of the files."""
        with self._lock:
            while self._opened:
                self._opened.popitem()[1][1].close()

    def _refuse(self, month: str, folder: str | None) -> NoReturn:
        where = f"{month} was taken out of {self._address.shown}"
        if folder is None:
            raise BackendError(
                f"{where}: `refold partitions attach {month}` brings it back",
                code="month_detached",
                month=month,
            )
        raise BackendError(
            f"{where} and is archived in {folder}: give ?archive={folder} in the address, or bring "
            f"it back with `refold partitions attach {month}`",
            code="month_detached",
            month=month,
            folder=folder,
        )


def unbroken(page: list[Row], edge: int, *, backward: bool) -> list[Row]:
    """What of a page stands side by side from a version on, in its order; none where it lacks."""
    if not page or not page[0].version <= edge <= page[0].last_version:
        return []
    events = page[0].version - page[-1].version if backward else page[-1].version - page[0].version
    if sum(row.event_count for row in page) == events + page[0 if backward else -1].event_count:
        return page
    taken = page[:1]
    for before, row in pairwise(page):
        older, newer = (row, before) if backward else (before, row)
        if older.last_version + 1 != newer.version:
            break
        taken.append(row)
    return taken
