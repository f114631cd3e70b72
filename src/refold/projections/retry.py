"""Events that fail: tried again alone, set aside with their stream, taken up again."""

from __future__ import annotations

import traceback
from functools import partial
from pathlib import PurePath
from typing import Final

from refold.errors import RefoldError
from refold.ports import Begin
from refold.projections.catalog import Catalog, Parked, catalog_of, check_unchanged
from refold.projections.cursor import Context, LogView
from refold.projections.postgres_dialect import dialect_of
from refold.projections.projection import FAR, NONE, Poisoned, Projection
from refold.projections.rows import Rows

ATTEMPTS_MAX: Final = 3
"""How often an event that failed in a batch is tried alone."""
BACKOFF_S: Final = 0.05
PARKED_MAX: Final = 1_000
"""With so many streams set aside it is the projection that is wrong, not its events."""
ERROR_CHARS_MAX: Final = 1_000


class Suspicion:
    """How far the next batch may go: up to before a suspect, or with it alone."""

    def __init__(self) -> None:
        self._suspect, self._failures = FAR, 0

    def limit(self, position: int) -> int:
        """The last position of a batch that begins after ``position``."""
        if position >= self._suspect:
            self.clear()
        before = self._suspect - 1
        return before if position < before else self._suspect

    def after_failure(self, poison: Poisoned) -> float | None:
        """How long to pause before the event is tried again; None when it was tried enough."""
        if self._suspect != poison.position:
            self._suspect, self._failures = poison.position, 0
            return 0
        self._failures += 1
        return BACKOFF_S * 2**self._failures if self._failures < ATTEMPTS_MAX else None

    def clear(self) -> None:
        """Suspect nobody."""
        self._suspect, self._failures = FAR, 0


def parked_for(poison: Poisoned, *, attempts: int, now: int) -> Parked:
    """A stream set aside from an event on: what went wrong, and where in the handler."""
    error = poison.__cause__
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__ if error is not None else None)
    if frames:
        last = frames[-1]
        text = f"{text[:ERROR_CHARS_MAX]} ({PurePath(last.filename).name}:{last.lineno})"
    said = text.encode(errors="replace").decode()
    return Parked(poison.stream, poison.version, poison.position, said, attempts, now)


def check_room(name: str, parked: int) -> None:
    """Refuse to set more and more streams aside."""
    if parked >= PARKED_MAX:
        raise RefoldError(
            f"projection {name!r} has set {parked} streams aside: correct its handlers, then run "
            f"`refold projections rebuild {name}`",
            code="too_many_parked",
            projection=name,
        )


def retry(context: Context, projection: Projection, generation: int, stream: str) -> Parked | None:
    """Handle what waits in a stream, in one transaction; what stops it again, if anything.

    Takes the stream up to where the generation stands, so that it goes on with all others. Raises
    :class:`~refold.errors.UsageError` where the projection has changed since.
    """
    entry = catalog_of(context.keeper).started(projection.name)
    check_unchanged(projection, entry.generations[generation])
    stopped: Poisoned | None = None
    while True:
        try:
            take_up = partial(_taken_up, context, projection, generation, stream, stopped)
            return context.keeper.write(take_up)
        except Poisoned as poison:
            # Undone as a whole: again, up to before that event.
            stopped = poison


def _taken_up(
    context: Context,
    projection: Projection,
    generation: int,
    stream: str,
    stopped: Poisoned | None,
    begin: Begin,
) -> Parked | None:
    key, transaction = (projection.name, generation), begin()
    catalog = Catalog(transaction.execute)
    parked = catalog.parked(*key).get(stream)
    filled = catalog.started(projection.name).generations.get(generation)
    if parked is None or filled is None:
        return None
    rows = Rows(
        projection.tables,
        generation=generation,
        read=transaction.execute,
        write=lambda: transaction,
        dialect=dialect_of(context.keeper),
    )
    end = filled.position if stopped is None else min(filled.position, stopped.position - 1)
    log, after = LogView(context.log, projection), parked.position - 1
    without = log.skipped().get(stream, NONE)
    rows.write_through()
    for row in log.stream(stream, first=parked.version):
        if row.position > end:
            break
        projection.handle(rows, row, after=after, until=end, without=without)
    catalog.unpark(*key, stream)
    again = None
    if stopped is not None:
        attempts = parked.attempts + 1 if stopped.version == parked.version else 1
        again = parked_for(stopped, attempts=attempts, now=context.clock())
        catalog.park(*key, again)
    catalog.raise_fence(*key)
    return again
