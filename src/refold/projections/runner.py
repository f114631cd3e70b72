"""Moving one generation of a projection on, batch by batch, each event exactly once.

A batch is read and handled in memory first; then the write lock is taken, and the rows and the
progress are stored together if the fence still stands where it was read. Else somebody else has
moved, and the batch is thrown away and begun again from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from refold.errors import NotFound, Unavailable, UsageError, log_went_back
from refold.ports import Begin, SqlValue, TableKeeper, TableTransaction
from refold.projections import retry
from refold.projections.catalog import Catalog, adopt_python, begun, check_unchanged
from refold.projections.cursor import Context, Cursor, LogPage, last_of
from refold.projections.projection import FAR, NONE, Poisoned, Projection
from refold.projections.reached import check_reached
from refold.projections.rows import Raced

T = TypeVar("T")

ROWS_PER_PAGE: Final = 4_096
ROWS_CHANGED_MAX: Final = 50_000
"""A batch ends where it has changed so many."""
TRIES_MAX: Final = 200
_ROWS_PER_LOOK: Final = 64
_RATE_MEMORY: Final = 0.7


class Unstorable(Exception):
    """SQL refused the rows of a batch: some event of it is to blame."""


class Unit:
    """One transaction, begun when something is to be written; until then, reads see what is."""

    def __init__(self, keeper: TableKeeper, check: Callable[[TableTransaction], None]) -> None:
        self._keeper = keeper
        self._check = check
        self._begin: Begin | None = None
        self._transaction: TableTransaction | None = None
        self._is_lost = False

    def run(self, work: Callable[[], T]) -> T:
        """What some work answers; what it writes is stored when it is done, or undone."""

        def within(begin: Begin) -> T:
            self._begin, self._transaction, self._is_lost = begin, None, False
            return work()

        try:
            return self._keeper.write(within)
        finally:
            self._begin = self._transaction = None

    def read(self, sql: str, values: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        if self._transaction is None:
            return self._keeper.query(sql, values)
        return self._transaction.execute(sql, values)

    def write(self) -> TableTransaction:
        """The transaction; raises :class:`Raced` where what was read is not what stands now."""
        if self._begin is None:
            raise UsageError("rows are the handler's for the time of its call alone")
        if self._is_lost:
            raise Raced  # Again: a handler may have swallowed the first.
        if self._transaction is None:
            transaction = self._begin()
            self._is_lost = True
            self._check(transaction)
            self._is_lost = False
            self._transaction = transaction
        return self._transaction


class Runner:
    """Moves one generation on; ``generation`` None is the current one.

    Not for several threads at once; any number of runners, in any number of processes, may run
    the same generation.
    """

    def __init__(
        self, context: Context, projection: Projection, *, generation: int | None = None
    ) -> None:
        self.projection = projection
        self._context = context
        self._unit = Unit(context.keeper, self._check_fence)
        self._cursor = Cursor(
            context, projection, wanted=generation, read=self._unit.read, write=self._unit.write
        )
        self._suspicion = retry.Suspicion()
        self._is_stopped = False

    @property
    def generation(self) -> int:
        """The number of the generation that it moves."""
        return self._cursor.generation

    @property
    def position(self) -> int:
        """Where the rows stand, as far as this runner knows."""
        return self._cursor.position

    def load(self) -> None:
        """Look up where things stand; begins the projection where it was never started.

        Raises :class:`~refold.errors.UsageError` where it has changed since.
        """
        keeper, wanted = self._context.keeper, self._cursor.wanted
        entry = begun(keeper, self.projection, now=self._context.clock())
        generation = entry.generations.get(entry.current if wanted is None else wanted)
        if generation is None:
            raise NotFound(f"generation {wanted} of projection {entry.name!r} was dropped")
        check_unchanged(self.projection, generation)
        adopt_python(keeper, self.projection, generation)
        head = self._context.log.log_head(reached=generation.position)
        if generation.position > head:
            raise log_went_back(generation.position, head)
        if self._context.is_elsewhere:
            name = f"{entry.name}@{generation.number}"
            check_reached(self._context.log, keeper, name, generation.position)
        self._cursor.take(generation, Catalog(keeper.query))

    def advance(self, *, until: int = FAR) -> int:
        """Move on by one batch; by how many positions. 0: there is nothing to do now.

        Raises :class:`~refold.errors.UsageError` where the projection has changed since.
        """
        if not self._cursor.is_known:
            self.load()
        before = self.position
        for _ in range(TRIES_MAX):
            if self.position >= until or (page := self._page()) is None:
                return self.position - before
            self._try(page, min(page.end, until, self._suspicion.limit(self.position)))
            if self.position > before or self._is_stopped:
                return self.position - before
        raise Unavailable(f"projection {self.projection.name!r} lost {TRIES_MAX} races")

    def _page(self) -> LogPage | None:
        return self._cursor.log.page(after=self.position, rows_max=ROWS_PER_PAGE)

    def _try(self, page: LogPage, end: int) -> None:
        try:
            self._apply(page, end)
        except Raced:
            self.load()
        except (Poisoned, Unstorable) as error:
            if not self._cursor.is_ahead(Catalog(self._context.keeper.query)):
                # Rows were perhaps read from before and after a change: nobody is to blame.
                self.load()
            elif isinstance(error, Poisoned):
                self._suspect(error)
            else:
                self._cursor.undo()
                self._cursor.rows.write_through()
        except BaseException:
            self._cursor.distrust()  # What became of the transaction is looked up.
            raise

    def _apply(self, page: LogPage, end: int) -> None:
        self._cursor.moved(self._unit.run(lambda: self._moved(page, end)))

    def _moved(self, page: LogPage, end: int) -> int:
        started = time.monotonic()
        end = self._handled(page, end)
        transaction = self._unit.write()
        try:
            self._cursor.rows.flush()
        except UsageError as error:
            raise Unstorable from error
        self._note_rate(end, time.monotonic() - started)
        self._cursor.move(transaction, end)
        return end

    def _handled(self, page: LogPage, end: int) -> int:
        """Handle events up to a position; the position where it stopped."""
        for first in range(0, len(page.rows), _ROWS_PER_LOOK):
            rows = page.rows[first : first + _ROWS_PER_LOOK]
            self._cursor.handle(rows, until=end)
            if rows[-1].position > end:
                break
            if self._cursor.rows.dirty > ROWS_CHANGED_MAX:
                return min(end, last_of(rows[-1]))
        return end

    def _suspect(self, poison: Poisoned) -> None:
        """Try an event that failed again, alone; set its stream aside when that does not help."""
        self._cursor.undo()
        pause_s = self._suspicion.after_failure(poison)
        if pause_s is not None:
            self._is_stopped = self._context.pause(pause_s)
            return
        self._suspicion.clear()
        self._cursor.skipped = self._cursor.log.skipped()
        if poison.version not in self._cursor.skipped.get(poison.stream, NONE):
            self._park(poison)

    def _park(self, poison: Poisoned) -> None:
        name = self.projection.name
        retry.check_room(name, len(self._cursor.parked))
        now = self._context.clock()
        parked = retry.parked_for(poison, attempts=retry.ATTEMPTS_MAX, now=now)

        def park() -> None:
            transaction = self._unit.write()
            Catalog(transaction.execute).park(name, self._cursor.generation, parked)
            self._cursor.move(transaction, poison.position)

        try:
            self._unit.run(park)
        except Raced:
            self.load()
            return
        self._cursor.parked.add(poison.stream)
        self._cursor.moved(poison.position)
        if self._context.on_parked is not None:
            self._context.on_parked(name, parked)

    def _note_rate(self, position: int, spent_s: float) -> None:
        cursor = self._cursor
        rate = (position - cursor.position) / max(spent_s, 1e-6)
        cursor.rate = _RATE_MEMORY * (cursor.rate or rate) + (1 - _RATE_MEMORY) * rate

    def _check_fence(self, transaction: TableTransaction) -> None:
        if not self._cursor.is_ahead(Catalog(transaction.execute)):
            raise Raced
