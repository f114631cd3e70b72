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
from refold.core.row import Row
from refold.errors import BackendError, RefoldError, StoreClosed, Unavailable, UsageError
from refold.ports import (
    Backend,
    Batch,
    Clock,
    Committed,
    InlineKeeper,
    SqlValue,
    TableKeeper,
    Transaction,
)
from refold.projections.catalog import Books, check_unchanged
from refold.projections.feed import Feed
from refold.projections.handling import NONE, Poisoned, handling_of
from refold.projections.projection import Projection, by_name
from refold.projections.rows import Rows
from refold.projections.runner import ROWS_HELD_MAX, Ground, Runner
from refold.projections.skipping import skipped

BEHIND_MAX: Final = 1_000
"""More positions behind, and the projection is caught up before the commit, not in it."""
TRIES_MAX: Final = 20
_SET: Final = """
UPDATE refold_progress SET position = ?, fence = ?, moved_at = ?
WHERE projection = ? AND generation = ? AND part = 0"""


class Behind(Exception):
    """The projection has to be caught up before the commit."""


class Inline:
    """The projections that a store keeps inline."""

    def __init__(self, backend: Backend, projections: Iterable[Projection], clock: Clock) -> None:
        if not isinstance(backend, InlineKeeper) or not isinstance(backend, TableKeeper):
            raise UsageError("this kind of store keeps no projections inline")
        self._backend: InlineKeeper = backend
        self._clock = clock
        ground = Ground(backend, backend, clock, threading.Event().wait)
        self._kept = [_Kept(ground, projection) for projection in by_name(projections).values()]

    def catch_up(self) -> None:
        """Bring the rows to where the log ends; begins what was never started."""
        for kept in self._kept:
            kept.catch_up()

    def commit(self, batches: Sequence[Batch], *, now: int) -> list[Committed | RefoldError]:
        """Store batches and what the projections make of them; see ``Backend.commit``."""
        for _ in range(TRIES_MAX):
            try:
                outcomes = self._backend.commit_beside(batches, now=now, beside=self)
            except Behind:
                self.catch_up()
                continue
            finally:
                for kept in self._kept:
                    kept.leave()
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
                    one.forget()
                return refusal
        return None

    def end(self, transaction: Transaction, *, position: int) -> None:
        """See :class:`~refold.ports.Beside`."""
        for kept in self._kept:
            kept.end(transaction, position, self._clock())


class _Kept:
    """One projection. What it remembers of the rows holds as long as the fence does."""

    def __init__(self, ground: Ground, projection: Projection) -> None:
        self._projection = projection
        self._ground = ground
        self._feed = Feed(ground.log, projection)
        self._transaction: Transaction | None = None
        self._fence = -1
        self._next_fence = -1
        self._generation = 0
        self._parked: set[str] = set()
        self._skipped: dict[str, frozenset[int]] = {}
        self._rows: Rows | None = None

    def catch_up(self) -> None:
        runner = Runner(self._ground, self._projection)
        runner.load()
        while runner.advance():
            pass

    def begin(self, transaction: Transaction, after: int) -> None:
        self._transaction = transaction
        name, books = self._projection.name, Books(transaction.execute)
        standing = books.standing(name)
        if standing is None:
            raise Behind
        progress = books.progress(name, standing.current)
        if len(progress) != 1 or after - progress[0].position > BEHIND_MAX:
            raise Behind
        if progress[0].fence != self._fence or standing.current != self._generation:
            check_unchanged(self._projection, standing.generations[standing.current])
            self._generation = standing.current
            self._parked = set(books.parked(name, standing.current))
            self._skipped = skipped(self._feed, name)
            self._rows = None
        self._next_fence = progress[0].fence + 1
        if progress[0].position < after:
            self._handle_others(progress[0].position, after)

    def add(self, rows: Sequence[Row]) -> RefoldError | None:
        """Handle an append of this commit; why it cannot be."""
        held = self._opened_rows()
        try:
            self._handle(rows)
            held.flush()
        except Poisoned as poison:
            return _refusal(self._projection, poison)
        except UsageError as error:
            return error
        return None

    def end(self, transaction: Transaction, position: int, now: int) -> None:
        key = (self._projection.name, self._generation)
        transaction.execute(_SET, (position, self._next_fence, now, *key))

    def settle(self) -> None:
        """The commit stands."""
        self._fence = self._next_fence
        if self._rows is not None and self._rows.held > ROWS_HELD_MAX:
            self._rows.forget()

    def leave(self) -> None:
        """Whatever became of the commit: until it is known, the rows in memory are not trusted."""
        self._transaction = None
        self._fence = -1

    def forget(self) -> None:
        self._rows = None

    def _handle_others(self, position: int, after: int) -> None:
        """What others appended; where a handler fails, a runner sets the stream aside."""
        while position < after:
            page = self._feed.page(after=position, rows_max=BEHIND_MAX)
            if page is None or page.end > after:
                raise Behind
            try:
                self._handle(page.rows, since=position)
                self._opened_rows().flush()
            except (Poisoned, UsageError) as error:
                raise Behind from error
            position = page.end

    def _handle(self, rows: Sequence[Row], *, since: int = 0) -> None:
        handling = handling_of(self._projection)
        categories = self._projection.categories
        for row in rows:
            if row.stream in self._parked or not _is_of(row, categories):
                continue
            without = self._skipped.get(row.stream, NONE)
            events = handling.decoded(row)
            handling.run(self._opened_rows(), row, events, after=since, without=without)

    def _opened_rows(self) -> Rows:
        if self._rows is None:
            self._rows = Rows(
                self._projection.tables,
                generation=self._generation,
                read=self._read,
                write=self._write,
            )
        return self._rows

    def _read(self, sql: str, values: Sequence[SqlValue]) -> list[tuple[Any, ...]]:
        return self._write().execute(sql, values)

    def _write(self) -> Transaction:
        if self._transaction is None:
            raise UsageError("rows are the handler's for the time of its call alone")
        return self._transaction


def _is_of(row: Row, categories: Sequence[str] | None) -> bool:
    return categories is None or category_of(row.stream) in categories


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
