"""Where a process has one generation of a projection, and what it remembers of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from refold.core.stored import Row
from refold.ports import Backend, Clock, TableKeeper, Transaction
from refold.projections.catalog import Catalog, Generation, Parked
from refold.projections.log import Log
from refold.projections.projection import FAR, NONE, Projection
from refold.projections.rows import Execute, Rows

ROWS_HELD_MAX: Final = 100_000
"""More rows in memory after a batch, and all are dropped."""


def tell_nobody(_name: str, _parked: Parked) -> None:
    """Nobody wants to know at once: the catalog says it."""


class Context(NamedTuple):
    """What projections are kept with: the log, where the rows are, the clock, how to pause.

    ``pause(seconds)`` is true where there is not to be gone on. ``on_parked(projection, parked)``
    is told of a stream that was set aside.
    """

    log: Backend
    keeper: TableKeeper
    clock: Clock
    pause: Callable[[float], bool]
    on_parked: Callable[[str, Parked], object] = tell_nobody


class Cursor:
    """One generation as it was read; ``wanted`` None is whichever is current.

    What is remembered holds as long as the fence stands where it was read.
    """

    def __init__(
        self,
        context: Context,
        projection: Projection,
        *,
        wanted: int | None,
        read: Execute,
        write: Callable[[], Transaction],
    ) -> None:
        self.projection = projection
        self.log = Log(context.log, projection)
        self.wanted = wanted
        self.generation = 0
        self.position = 0
        self.rate = 0.0
        self.parked: set[str] = set()
        self.skipped: dict[str, frozenset[int]] = {}
        self._clock = context.clock
        self._read, self._write = read, write
        self._fence = -1
        self.forget()

    def take(self, generation: Generation, catalog: Catalog) -> None:
        """Go on from a generation as the catalog has it."""
        self.generation, self.position = generation.number, generation.position
        self._fence, self.rate = generation.fence, generation.rate
        # After the fence: what changes from here on raises it.
        self.parked = set(catalog.parked(self.projection.name, generation.number))
        self.skipped = self.log.skipped()
        self.undo()

    def is_ahead(self, catalog: Catalog) -> bool:
        """Whether nobody has changed the generation since, or put another in its place."""
        entry = catalog.entry(self.projection.name)
        found = entry.generations.get(self.generation) if entry else None
        if entry is None or found is None or found.fence != self._fence:
            return False
        # It may have been swapped out between two looks at the catalog.
        return self.wanted is not None or entry.current == self.generation

    def handle(self, rows: Iterable[Row], *, until: int = FAR) -> None:
        """Let the handlers change the rows in memory for what comes after the position."""
        for row in rows:
            if row.position > until:
                return
            if row.stream not in self.parked:
                without = self.skipped.get(row.stream, NONE)
                self.projection.handle(
                    self.rows, row, after=self.position, until=until, without=without
                )

    def move(self, transaction: Transaction, position: int) -> None:
        """Store, with the rows, that they stand at a position."""
        Catalog(transaction.execute).move(
            self.projection.name,
            self.generation,
            position,
            rate=self.rate,
            now=self._clock(),
        )

    def moved(self, position: int) -> None:
        """The transaction of :meth:`move` stands."""
        self.position = position
        self._fence += 1
        if self.rows.held > ROWS_HELD_MAX:
            self.rows.forget()

    def distrust(self) -> None:
        """It is not known what became of a transaction: nothing that is remembered holds."""
        self._fence = -1

    def forget(self) -> None:
        """Drop the rows in memory, changed or not."""
        self.rows = Rows(
            self.projection.tables,
            generation=self.generation,
            read=self._read,
            write=self._write,
        )

    def undo(self) -> None:
        """The same, where the database has the rows of the position, and of no event beyond it."""
        self.forget()
        if self.position == 0:
            self.rows.begin_empty()
