"""Where a process has one generation of a projection: the log from there on, and its rows.

The log is read in pages of rows, narrowed to what the projection wants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final, NamedTuple

import msgspec

from refold.core.event import parse_event_id
from refold.core.recorded import decode_row
from refold.core.registry import Registry, event
from refold.core.stored import Row
from refold.errors import Corrupt
from refold.ports import Backend, Clock, TableKeeper, TableTransaction
from refold.projections.catalog import Catalog, Generation, Parked
from refold.projections.postgres_dialect import dialect_of
from refold.projections.projection import FAR, NONE, Projection
from refold.projections.reached import keep_reached
from refold.projections.rows import Execute, Rows

ROWS_HELD_MAX: Final = 100_000
"""More rows in memory after a batch, and all are dropped."""
SKIPPED: Final = "projection.skipped"
_EVENTS_PER_STREAM_PAGE: Final = 1_024
_NO_CLASSES: Final = Registry()


class Context(NamedTuple):
    """What projections are kept with: the log, where the rows are, the clock, how to pause.

    ``pause(seconds)`` is true where there is not to be gone on. ``on_parked(projection, parked)``
    is told of a stream that was set aside.
    """

    log: Backend
    keeper: TableKeeper
    clock: Clock
    pause: Callable[[float], bool]
    on_parked: Callable[[str, Parked], object] | None = None

    @property
    def is_elsewhere(self) -> bool:
        """Whether the rows stand in another store than the log."""
        keeper: object = self.keeper
        return self.log is not keeper


@event(SKIPPED)
class ProjectionSkipped(msgspec.Struct, frozen=True):
    """A projection leaves an event out, now and in every rebuild; ``event`` is its id."""

    projection: str
    event: str
    reason: str


class LogPage(NamedTuple):
    """Rows in order of position; with them, everything up to ``end`` has been looked at."""

    rows: list[Row]
    end: int


class LogView(NamedTuple):
    """What a projection wants of a log."""

    backend: Backend
    projection: Projection

    def page(self, *, after: int, rows_max: int) -> LogPage | None:
        """What comes after a position; None where nothing does yet."""
        head = self.backend.log_head()
        if head <= after:
            return None
        types, categories = self.projection.types, self.projection.categories
        if types == []:
            return LogPage([], head)
        found = self.backend.log(after=after, categories=categories, types=types, rows_max=rows_max)
        rows = _unpacked(found)
        if types is None and categories is None:
            _check_gapless(rows, after)
        # Up to the head of before: what came after it was perhaps not seen by the query.
        return LogPage(rows, last_of(rows[-1]) if rows else head)

    def stream(self, stream: str, *, first: int) -> Iterator[Row]:
        """The rows of one stream alone from a version on."""
        while page := self.backend.rows(
            stream, first=first, last=FAR, backward=False, events_max=_EVENTS_PER_STREAM_PAGE
        ):
            yield from _unpacked(page)
            first = page[-1].last_version + 1

    def skipped(self) -> dict[str, frozenset[int]]:
        """The versions to leave out because somebody said so, by stream."""
        name = self.projection.name
        found: dict[str, set[int]] = {}
        for row in self.stream(decisions_about(name), first=0):
            for recorded in decode_row(row, _NO_CLASSES):
                if recorded.type == SKIPPED:
                    stream, version = parse_event_id(recorded.data["event"])
                    found.setdefault(stream, set()).add(version)
        return {stream: frozenset(versions) for stream, versions in found.items()}


class Cursor:
    """One generation as it was read; ``wanted`` None is whichever is current.

    What is remembered holds as long as the fence stands where it was read; ``is_known`` is false
    where it has yet to be read, or read again.
    """

    def __init__(
        self,
        context: Context,
        projection: Projection,
        *,
        wanted: int | None,
        read: Execute,
        write: Callable[[], TableTransaction],
    ) -> None:
        self.projection = projection
        self.log = LogView(context.log, projection)
        self.wanted = wanted
        self.generation = 0
        self.position = 0
        self.rate = 0.0
        self.parked: set[str] = set()
        self.skipped: dict[str, frozenset[int]] = {}
        self._clock, self._is_elsewhere = context.clock, context.is_elsewhere
        self._rows_by = partial(Rows, read=read, write=write, dialect=dialect_of(context.keeper))
        self._fence = -1
        self.forget()

    def take(self, generation: Generation, catalog: Catalog) -> None:
        """Go on from a generation as the catalog has it."""
        self.distrust()  # Until everything is read.
        self.generation, self.position = generation.number, generation.position
        self.rate = generation.rate
        # Later than the fence: what changes from there on raises it.
        self.parked = set(catalog.parked(self.projection.name, generation.number))
        self.skipped = self.log.skipped()
        self.undo()
        self._fence = generation.fence

    @property
    def is_known(self) -> bool:
        """Whether a generation was taken, and nothing has failed that may have changed it."""
        return self._fence >= 0

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

    def move(self, transaction: TableTransaction, position: int) -> None:
        """Store, with the rows, that they stand at a position."""
        name, catalog = self.projection.name, Catalog(transaction.execute)
        catalog.move(name, self.generation, position, rate=self.rate, now=self._clock())
        if self._is_elsewhere:
            reached = f"{name}@{self.generation}", position
            keep_reached(self.log.backend, transaction.execute, *reached)

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
        self.rows = self._rows_by(self.projection.tables, generation=self.generation)

    def undo(self) -> None:
        """The same, where the database has the rows of the position, and of no event beyond it."""
        self.forget()
        if self.position == 0:
            self.rows.begin_empty()


def decisions_about(projection: str) -> str:
    """The stream that remembers what was decided about a projection."""
    return f"projection-{projection}"


def last_of(row: Row) -> int:
    """The position of the last event of a row that is not packed."""
    return row.position + row.event_count - 1


def _unpacked(found: list[Row]) -> list[Row]:
    if all(row.packed_parts is None for row in found):
        return found
    return [part for row in found for part in row.appends()]


def _check_gapless(rows: list[Row], after: int) -> None:
    for position, _, _, count, *_ in rows:
        last = position + count - 1
        if not position <= after + 1 <= last:
            raise Corrupt(
                f"position {after + 1} is missing; run `refold doctor`", position=after + 1
            )
        after = last
