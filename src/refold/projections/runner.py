"""Moving one generation of a projection on, batch by batch, each event exactly once.

A batch is read and handled in memory first; then the write lock is taken, and the rows and the
progress are stored together if the fence still stands where it was read. Else somebody else has
moved, and the batch is thrown away and begun again from there. Where a projection is cut into
parts, several runners change the same rows: they handle their events with the lock held.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Final, NamedTuple

from refold.core.row import Row
from refold.errors import NotFound, Unavailable, UsageError
from refold.ports import Backend, Clock, SqlValue, TableKeeper, Transaction
from refold.projections import retry as parking
from refold.projections.catalog import (
    Books,
    Parked,
    Standing,
    adopt_python,
    begun,
    check_unchanged,
)
from refold.projections.feed import Feed, Page, in_part
from refold.projections.handling import NONE, Handling, Poisoned, handling_of
from refold.projections.partitions import WHOLE, Cut, cut_into
from refold.projections.projection import Projection
from refold.projections.rows import Raced, Rows
from refold.projections.skipping import skipped

ROWS_PER_PAGE: Final = 4_096
ROWS_PER_LOCKED_PAGE: Final = 512
"""The log keeps its writers waiting for so long."""
ROWS_HELD_MAX: Final = 100_000
"""More rows in memory after a batch, and all are dropped."""
ROWS_CHANGED_MAX: Final = 50_000
"""A batch ends where it has changed so many."""
TRIES_MAX: Final = 200
FAR: Final = (1 << 63) - 1
_RATE_MEMORY: Final = 0.7
_FENCE: Final = """
SELECT fence, current FROM refold_progress JOIN refold_projections ON name = projection
WHERE projection = ? AND generation = ? AND part = ?"""
_MOVE: Final = """
UPDATE refold_progress SET position = ?, fence = fence + 1, moved_at = ?, rate = ?
WHERE projection = ? AND generation = ? AND part = ?"""


class Unstorable(Exception):
    """SQL refused the rows of a batch: some event of it is to blame."""


def tell_nobody(_name: str, _parked: Parked) -> None:
    """Nobody wants to know at once: the books say it."""


class Ground(NamedTuple):
    """What a runner stands on: the log, where the rows are, the clock, and how it pauses.

    ``pause(seconds)`` is true where there is not to be gone on. ``on_parked(projection, parked)``
    is told of a stream that was set aside.
    """

    log: Backend
    keeper: TableKeeper
    clock: Clock
    pause: Callable[[float], bool]
    on_parked: Callable[[str, Parked], object] = tell_nobody


class Unit:
    """One transaction, begun when something is to be written; until then, reads see what is."""

    def __init__(self, keeper: TableKeeper, check: Callable[[Transaction], None]) -> None:
        self._keeper = keeper
        self._check = check
        self._stack = ExitStack()
        self._transaction: Transaction | None = None
        self._is_lost = False

    def read(self, sql: str, values: Iterable[SqlValue]) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        if self._transaction is None:
            return self._keeper.query(sql, tuple(values))
        return self._transaction.execute(sql, tuple(values))

    def write(self) -> Transaction:
        """The transaction; raises :class:`Raced` where what was read is not what stands now."""
        if self._is_lost:
            raise Raced  # Again: a handler may have swallowed the first.
        if self._transaction is None:
            transaction = self._stack.enter_context(self._keeper.tables())
            self._is_lost = True
            self._check(transaction)
            self._is_lost = False
            self._transaction = transaction
        return self._transaction

    def __enter__(self) -> Unit:
        return self

    def __exit__(self, *error: Any) -> None:
        self._transaction, self._is_lost = None, False
        # Closed through the stack: it commits, or undoes what was done.
        stack, self._stack = self._stack, ExitStack()
        stack.__exit__(*error)


class Runner:
    """Moves one part of one generation on; ``generation`` None is the current one.

    Not for several threads at once; any number of runners, in any number of processes, may run
    the same generation.
    """

    def __init__(
        self,
        ground: Ground,
        projection: Projection,
        *,
        cut: Cut = WHOLE,
        generation: int | None = None,
    ) -> None:
        self.projection = projection
        self.position = 0
        self.generation = 0
        self._ground = ground
        self._cut = cut
        self._wanted = generation
        self._feed = Feed(ground.log, projection)
        self._unit = Unit(ground.keeper, self._check_fence)
        self._fence = -1
        self._rate = 0.0
        self._suspicion = parking.Suspicion()
        self._parked: set[str] = set()
        self._skipped: dict[str, frozenset[int]] = {}
        self._is_mine = in_part(*cut)
        self._rows: Rows | None = None
        self._is_stopped = False

    def load(self) -> None:
        """Look up where things stand; begins the projection where it was never started.

        Raises :class:`~refold.errors.UsageError` where it has changed since.
        """
        for _ in range(TRIES_MAX):
            if self._is_loaded():
                return
        raise Unavailable(f"projection {self.projection.name!r} is swapped again and again")

    def _is_loaded(self) -> bool:
        """Whether it could be looked up: a generation may be dropped between two looks."""
        keeper, name = self._ground.keeper, self.projection.name
        standing = begun(keeper, self.projection, now=self._ground.clock())
        generation = standing.current if self._wanted is None else self._wanted
        if generation not in standing.generations:
            raise NotFound(f"generation {generation} of projection {name!r} was dropped")
        check_unchanged(self.projection, standing.generations[generation])
        adopt_python(keeper, self.projection, standing.generations[generation])
        if generation != self.generation:
            self._cut_first(standing, generation)
        books = Books(keeper.query)
        progress = books.progress(name, generation)
        if not progress and self._wanted is None:
            return False
        if len(progress) != self._cut.parts:
            raise UsageError(
                f"projection {name!r} is run in {len(progress)} parts now, not {self._cut.parts}",
                code="parts_changed",
                projection=name,
            )
        own = progress[self._cut.part]
        self.generation = generation
        self.position, self._fence, self._rate = own.position, own.fence, own.rate
        self._suspicion.passed(self.position)
        # After the fence: what changes from here on raises it.
        self._parked = set(books.parked(name, generation))
        self._skipped = skipped(self._feed, name)
        self._rows = self._fresh_rows()
        return True

    def advance(self, *, until: int = FAR) -> int:
        """Move on by one batch; by how many positions. 0: there is nothing to do now.

        Raises a :class:`~refold.errors.BackendError`, after which it may be called again.
        """
        if self._rows is None:
            self.load()
        before = self.position
        for _ in range(TRIES_MAX):
            if self.position >= until or (page := self._page()) is None:
                return self.position - before
            end = min(page.end, until, self._suspicion.limit(self.position))
            self._try(page, end)
            if self.position > before or self._is_stopped:
                return self.position - before
        raise Unavailable(f"projection {self.projection.name!r} lost {TRIES_MAX} races")

    def _try(self, page: Page, end: int) -> None:
        try:
            self._apply(page, end)
        except Raced:
            self.load()
        except (Poisoned, Unstorable) as error:
            if not self._is_ahead(Books(self._ground.keeper.query)):
                # Rows were perhaps read from before and after a change: nobody is to blame.
                self.load()
            elif isinstance(error, Poisoned):
                self._suspect(error)
            elif end - self.position > 1:
                self._suspicion.halve(self.position, end)
                self._forget()
            else:
                self._suspect(_culprit(page, end, error))
        except BaseException:
            self._rows = None  # What became of the transaction is looked up.
            raise

    def _apply(self, page: Page, end: int) -> None:
        started = time.monotonic()
        rows, handling = self._opened_rows(), handling_of(self.projection)
        wanted = page.rows
        if self._parked or self._cut.parts > 1:
            wanted = [row for row in wanted if self._wants(row)]
        decoded: Iterable[tuple[Row, list[Any]]] = ((r, handling.decoded(r)) for r in wanted)
        if self._cut.parts > 1:
            decoded = list(decoded)
        with self._unit as unit:
            if self._cut.parts > 1:
                unit.write()
            end = self._handle(handling, rows, decoded, end)
            transaction = unit.write()
            try:
                rows.flush()
            except UsageError as error:
                raise Unstorable from error
            self._move(transaction, end, started)
        self._moved(end)

    def _handle(
        self,
        handling: Handling,
        rows: Rows,
        decoded: Iterable[tuple[Row, list[Any]]],
        end: int,
    ) -> int:
        """Handle events up to a position; the position where it stopped."""
        after = self.position
        for count, (row, events) in enumerate(decoded, start=1):
            if row.position > end:
                return end
            without = self._skipped.get(row.stream, NONE)
            handling.run(rows, row, events, after=after, until=end, without=without)
            if count % 64 == 0 and rows.dirty > ROWS_CHANGED_MAX:
                return min(end, row.position + row.event_count - 1)
        return end

    def _suspect(self, poison: Poisoned) -> None:
        """Try an event that failed again, alone; set its stream aside when that does not help."""
        self._forget()
        pause_s = self._suspicion.after_failure(poison)
        if pause_s is not None:
            self._is_stopped = self._ground.pause(pause_s)
            return
        self._suspicion.clear()
        self._skipped = skipped(self._feed, self.projection.name)
        if poison.version not in self._skipped.get(poison.stream, NONE):
            self._park(poison)

    def _park(self, poison: Poisoned) -> None:
        name = self.projection.name
        parking.check_room(name, len(self._parked))
        try:
            with self._unit as unit:
                transaction = unit.write()
                parked = parking.park(
                    transaction,
                    name,
                    self.generation,
                    poison,
                    attempts=parking.ATTEMPTS_MAX,
                    now=self._ground.clock(),
                )
                self._move(transaction, poison.position, time.monotonic())
        except Raced:
            self.load()
            return
        self._parked.add(poison.stream)
        self._moved(poison.position)
        self._ground.on_parked(name, parked)

    def _page(self) -> Page | None:
        locked = self._cut.parts > 1
        rows_max = ROWS_PER_LOCKED_PAGE if locked else ROWS_PER_PAGE
        return self._feed.page(after=self.position, rows_max=rows_max)

    def _wants(self, row: Row) -> bool:
        return row.stream not in self._parked and self._is_mine(row.stream)

    def _opened_rows(self) -> Rows:
        assert self._rows is not None
        if self._cut.parts > 1:
            self._rows.forget()
        return self._rows

    def _fresh_rows(self) -> Rows:
        rows = Rows(
            self.projection.tables,
            generation=self.generation,
            read=self._unit.read,
            write=self._unit.write,
        )
        if self.position == 0 and self._cut.parts == 1:
            rows.begin_empty()
        return rows

    def _forget(self) -> None:
        self._rows = self._fresh_rows()

    def _check_fence(self, transaction: Transaction) -> None:
        if not self._is_ahead(Books(transaction.execute)):
            raise Raced

    def _is_ahead(self, books: Books) -> bool:
        """Whether nobody has changed the generation since, or put another in its place."""
        found = books.read(_FENCE, self._key)
        if not found or found[0][0] != self._fence:
            return False
        # It may have been swapped out between two looks at the books.
        return self._wanted is not None or found[0][1] == self.generation

    def _move(self, transaction: Transaction, position: int, started: float) -> None:
        spent_s = max(time.monotonic() - started, 1e-6)
        rate = (position - self.position) / spent_s
        self._rate = _RATE_MEMORY * self._rate + (1 - _RATE_MEMORY) * rate if self._rate else rate
        transaction.execute(_MOVE, (position, self._ground.clock(), self._rate, *self._key))

    def _moved(self, position: int) -> None:
        self.position = position
        self._fence += 1
        self._suspicion.passed(position)
        assert self._rows is not None
        if self._rows.held > ROWS_HELD_MAX:
            self._rows.forget()

    def _cut_first(self, standing: Standing, generation: int) -> None:
        """Cut the generation as it is to be run, where it was run in another number of parts."""

        def level(part: int, parts: int, position: int) -> None:
            runner = Runner(
                self._ground, self.projection, cut=Cut(part, parts), generation=generation
            )
            while runner.advance(until=position):
                pass

        cut_into(
            self._ground.keeper,
            standing.name,
            generation,
            self._cut.parts,
            level=level,
            now=self._ground.clock(),
        )

    @property
    def _key(self) -> tuple[str, int, int]:
        return self.projection.name, self.generation, self._cut.part


def _culprit(page: Page, position: int, error: Unstorable) -> Poisoned:
    for row in page.rows:
        if row.position <= position < row.position + row.event_count:
            poison = Poisoned(
                position=position,
                stream=row.stream,
                version=row.version + position - row.position,
            )
            poison.__cause__ = error.__cause__
            return poison
    # No event: it is the progress that cannot be stored.
    assert isinstance(error.__cause__, Exception)
    raise error.__cause__
