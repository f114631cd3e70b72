"""Projections in the transaction of the append: who reads an event reads the rows with it.

The rows and the progress of a projection move with the log. An append that a handler fails on is
refused, alone. What processes without the projection have appended meanwhile is handled first, by
the next commit.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

from refold.core.event import category_of
from refold.core.stored import Row
from refold.errors import BackendError, RefoldError, StoreClosed, Unavailable, UsageError
from refold.ports import Backend, Batch, Clock, Outcome, SqlValue, TableKeeper, TableTransaction
from refold.projections.catalog import Catalog, check_unchanged
from refold.projections.cursor import Context, Cursor
from refold.projections.projection import Poisoned, Projection, by_name
from refold.projections.runner import Runner

BEHIND_MAX: Final = 1_000
"""More positions behind, and the projection is caught up before the commit, not in it."""
TRIES_MAX: Final = 20


class Behind(Exception):
    """The projection has to be caught up before the commit."""


class Inline:
    """The projections that a store keeps inline: a :class:`~refold.ports.Committer`.

    It is what a backend stores beside appends: a :class:`~refold.ports.Beside`.
    """

    def __init__(self, backend: Backend, projections: Iterable[Projection], clock: Clock) -> None:
        if not isinstance(backend, TableKeeper):
            raise UsageError("this kind of store keeps no projections inline")
        # What is kept beside the log is kept of all of it, whoever has opened it.
        self._backend: Backend = (whole := getattr(backend, "unasked", backend))
        self._context = Context(whole, whole, clock, threading.Event().wait)
        self._cursors = [
            Cursor(self._context, projection, wanted=None, read=self._read, write=self._write)
            for projection in by_name(projections).values()
        ]
        self._transaction: TableTransaction | None = None
        self._end = 0

    def catch_up(self) -> None:
        """Bring the rows to where the log ends; begins what was never started."""
        for cursor in self._cursors:
            runner = Runner(self._context, cursor.projection)
            runner.load()
            while runner.advance():
                pass

    def commit(self, batches: Sequence[Batch], *, now: int) -> list[Outcome]:
        """Store batches and what the projections make of them; see ``Backend.commit``."""
        for _ in range(TRIES_MAX):
            try:
                outcomes = self._backend.commit(batches, now=now, beside=self)
            except BaseException as error:
                self._transaction = None
                for cursor in self._cursors:
                    cursor.distrust()
                if not isinstance(error, Behind):
                    raise
                self.catch_up()
            else:
                self._transaction = None
                for cursor in self._cursors:
                    cursor.moved(self._end)
                return outcomes
        raise Unavailable("other processes append faster than inline projections can be caught up")

    def begin(self, transaction: TableTransaction, *, after: int) -> None:
        """See :class:`~refold.ports.Beside`."""
        self._transaction = transaction
        for cursor in self._cursors:
            _bring(cursor, Catalog(transaction.execute), after)

    def add(self, transaction: TableTransaction, rows: Sequence[Row]) -> RefoldError | None:  # noqa: ARG002
        """See :class:`~refold.ports.Beside`."""
        for cursor in self._cursors:
            refusal = _refusal(cursor, rows)
            if refusal is not None:
                for one in self._cursors:
                    one.forget()
                return refusal
        return None

    def end(self, transaction: TableTransaction, *, position: int) -> None:
        """See :class:`~refold.ports.Beside`."""
        for cursor in self._cursors:
            cursor.move(transaction, position)
        self._end = position

    def _read(self, sql: str, values: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        return self._write().execute(sql, values)

    def _write(self) -> TableTransaction:
        if self._transaction is None:
            raise UsageError("rows are the handler's for the time of its call alone")
        return self._transaction


def _bring(cursor: Cursor, catalog: Catalog, after: int) -> None:
    """Let a cursor stand at the end of the log: handle what others have appended."""
    if not cursor.is_ahead(catalog):
        entry = catalog.entry(cursor.projection.name)
        if entry is None:
            raise Behind
        check_unchanged(cursor.projection, entry.shown)
        cursor.take(entry.shown, catalog)
    if after - cursor.position > BEHIND_MAX:
        raise Behind
    while cursor.position < after:
        page = cursor.log.page(after=cursor.position, rows_max=BEHIND_MAX)
        if page is None or page.end > after:
            raise Behind
        if _refusal(cursor, page.rows) is not None:
            raise Behind  # A runner sets the stream aside.
        cursor.position = page.end


def _refusal(cursor: Cursor, rows: Sequence[Row]) -> RefoldError | None:
    """Handle appends; where a handler fails, why, for whoever appends."""
    categories = cursor.projection.categories
    try:
        cursor.handle(
            row for row in rows if categories is None or category_of(row.stream) in categories
        )
        cursor.rows.flush()
    except Poisoned as poison:
        return _told(cursor.projection, poison)
    except UsageError as error:
        return error
    return None


def _told(projection: Projection, poison: Poisoned) -> RefoldError:
    """What the caller of the append gets: what the handler raised, where that is for callers."""
    cause = poison.__cause__
    if isinstance(cause, RefoldError) and not isinstance(cause, BackendError | StoreClosed):
        return cause
    error = RefoldError(
        f"projection {projection.name!r} failed on the event: {cause!r}; nothing was appended",
        code="projection_failed",
        projection=projection.name,
        stream=poison.stream,
    )
    error.__cause__ = cause
    return error
