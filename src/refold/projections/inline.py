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
from refold.ports import (
    Backend,
    Batch,
    Clock,
    Outcome,
    SqlValue,
    TableKeeper,
    Transaction,
)
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
    """The projections that a store keeps inline: a :class:`~refold.ports.Committer`."""

    def __init__(self, backend: Backend, projections: Iterable[Projection], clock: Clock) -> None:
        if not isinstance(backend, TableKeeper):
            raise UsageError("this kind of store keeps no projections inline")
        self._backend: Backend = backend
        context = Context(backend, backend, clock, threading.Event().wait)
        self._kept = [_Kept(context, projection) for projection in by_name(projections).values()]

    def catch_up(self) -> None:
        """Bring the rows to where the log ends; begins what was never started."""
        for kept in self._kept:
            kept.catch_up()

    def commit(self, batches: Sequence[Batch], *, now: int) -> list[Outcome]:
        """Store batches and what the projections make of them; see ``Backend.commit``."""
        for _ in range(TRIES_MAX):
            try:
                outcomes = self._backend.commit(batches, now=now, beside=self)
            except BaseException as error:
                for kept in self._kept:
                    kept.leave()
                if not isinstance(error, Behind):
                    raise
                self.catch_up()
                continue
            for kept in self._kept:
                kept.settle()
            return outcomes
        raise Unavailable("other processes append faster than inline projections can be caught up")

    def begin(self, transaction: Transaction, *, after: int) -> None:
        """See :class:`~refold.ports.Beside`."""
        for kept in self._kept:
            kept.begin(transaction, after)

    def add(self, transaction: Transaction, rows: Sequence[Row]) -> RefoldError | None:  # noqa: ARG002
        """See :class:`~refold.ports.Beside`."""
        for kept in self._kept:
            refusal = kept.add(rows)
            if refusal is not None:
                for one in self._kept:
                    one.cursor.forget()
                return refusal
        return None

    def end(self, transaction: Transaction, *, position: int) -> None:
        """See :class:`~refold.ports.Beside`."""
        for kept in self._kept:
            kept.end(transaction, position)


class _Kept:
    """One projection, in the transaction that is lent to it for a commit."""

    def __init__(self, context: Context, projection: Projection) -> None:
        self._context = context
        self._projection = projection
        self._transaction: Transaction | None = None
        self._end = 0
        self.cursor = Cursor(context, projection, wanted=None, read=self._read, write=self._write)

    def catch_up(self) -> None:
        runner = Runner(self._context, self._projection)
        runner.load()
        while runner.advance():
            pass

    def begin(self, transaction: Transaction, after: int) -> None:
        self._transaction = transaction
        catalog = Catalog(transaction.execute)
        if not self.cursor.is_ahead(catalog):
            entry = catalog.entry(self._projection.name)
            if entry is None:
                raise Behind
            check_unchanged(self._projection, entry.shown)
            self.cursor.take(entry.shown, catalog)
        if after - self.cursor.position > BEHIND_MAX:
            raise Behind
        while self.cursor.position < after:
            self._handle_others(after)

    def add(self, rows: Sequence[Row]) -> RefoldError | None:
        """Handle an append of this commit; why it cannot be."""
        categories = self._projection.categories
        try:
            self.cursor.handle(
                row for row in rows if categories is None or category_of(row.stream) in categories
            )
            self.cursor.rows.flush()
        except Poisoned as poison:
            return _refusal(self._projection, poison)
        except UsageError as error:
            return error
        return None

    def end(self, transaction: Transaction, position: int) -> None:
        self.cursor.move(transaction, position)
        self._end = position

    def settle(self) -> None:
        """The commit stands."""
        self._transaction = None
        self.cursor.moved(self._end)

    def leave(self) -> None:
        """The commit failed, as far as is known: the rows in memory are not trusted."""
        self._transaction = None
        self.cursor.distrust()

    def _handle_others(self, after: int) -> None:
        """What others appended; where a handler fails, a runner sets the stream aside."""
        page = self.cursor.log.page(after=self.cursor.position, rows_max=BEHIND_MAX)
        if page is None or page.end > after:
            raise Behind
        try:
            self.cursor.handle(page.rows)
            self.cursor.rows.flush()
        except (Poisoned, UsageError) as error:
            raise Behind from error
        self.cursor.position = page.end

    def _read(self, sql: str, values: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        return self._write().execute(sql, values)

    def _write(self) -> Transaction:
        if self._transaction is None:
            raise UsageError("rows are the handler's for the time of its call alone")
        return self._transaction


def _refusal(projection: Projection, poison: Poisoned) -> RefoldError:
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
