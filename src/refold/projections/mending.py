"""Streams that were set aside, taken up again."""

from __future__ import annotations

from refold.core.recorded import Recorded
from refold.core.row import Row, decode_row
from refold.errors import BackendError, StoreClosed, UsageError
from refold.ports import Transaction
from refold.projections.catalog import (
    Books,
    Parked,
    check_unchanged,
    raised_fence,
    stored_standing,
)
from refold.projections.feed import Feed, in_part
from refold.projections.handling import NONE, Handling, Poisoned, handling_of
from refold.projections.projection import Projection
from refold.projections.retry import park
from refold.projections.rows import Rows
from refold.projections.runner import Ground
from refold.projections.skipping import skipped

_UNPARK = "DELETE FROM refold_parked WHERE projection = ? AND generation = ? AND stream = ?"


class Mender:
    """Takes up the streams that one generation has set aside."""

    def __init__(self, ground: Ground, projection: Projection, generation: int) -> None:
        self._ground = ground
        self._projection = projection
        self._generation = generation
        self._feed = Feed(ground.log, projection)

    def retry(self, stream: str) -> Parked | None:
        """Handle what waits in a stream, in one transaction; what stops it again, if anything.

        Takes the stream up to where the generation stands, so that it goes on with all others.
        Raises :class:`~refold.errors.UsageError` where the projection has changed since.
        """
        stored = stored_standing(self._ground.keeper, self._projection.name)
        check_unchanged(self._projection, stored.generations[self._generation])
        stopped: Poisoned | None = None
        while True:
            try:
                return self._taken_up(stream, stopped)
            except Poisoned as poison:
                # Undone as a whole: again, up to before that event.
                stopped = poison

    def _taken_up(self, stream: str, stopped: Poisoned | None) -> Parked | None:
        key = (self._projection.name, self._generation)
        with self._ground.keeper.tables() as transaction:
            books = Books(transaction.execute)
            parked = books.parked(*key).get(stream)
            progress = books.progress(*key)
            if parked is None or not progress:
                return None
            parts = len(progress)
            until = next(p.position for p in progress if in_part(p.part, parts)(stream))
            rows = self._rows(transaction)
            self._handle(rows, parked, until, stopped)
            try:
                rows.flush()
            except UsageError as error:
                # Some event of the stream is to blame: nobody knows which.
                raise _poisoned(parked) from error
            transaction.execute(_UNPARK, (*key, stream))
            if stopped is not None:
                is_same = stopped.version == parked.version
                attempts = parked.attempts + 1 if is_same else 1
                now = self._ground.clock()
                park(transaction, *key, stopped, attempts=attempts, now=now)
            raised_fence(transaction, *key)
            return books.parked(*key).get(stream)

    def _handle(self, rows: Rows, parked: Parked, until: int, stopped: Poisoned | None) -> None:
        handling = handling_of(self._projection)
        without = skipped(self._feed, self._projection.name).get(parked.stream, NONE)
        end = until if stopped is None else min(until, stopped.position - 1)
        for row in self._feed.stream(parked.stream, first=parked.version):
            if row.position > end:
                return
            _handle_row(handling, rows, row, self._projection, parked.version, end, without)

    def _rows(self, transaction: Transaction) -> Rows:
        return Rows(
            self._projection.tables,
            generation=self._generation,
            read=transaction.execute,
            write=lambda: transaction,
        )


def _handle_row(
    handling: Handling,
    rows: Rows,
    row: Row,
    projection: Projection,
    first: int,
    end: int,
    without: frozenset[int],
) -> None:
    for recorded in decode_row(row, projection.registry):
        if recorded.version < first or recorded.version in without or recorded.position > end:
            continue
        try:
            handling.step(rows, recorded)
        except (BackendError, StoreClosed):
            raise
        except Exception as error:
            raise _poisoned(recorded) from error


def _poisoned(at: Parked | Recorded) -> Poisoned:
    return Poisoned(position=at.position, stream=at.stream, version=at.version)
