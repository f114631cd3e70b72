"""Events that fail: tried again alone, set aside with their stream, taken up again."""

from __future__ import annotations

import traceback
from pathlib import PurePath
from typing import Final

from refold.errors import RefoldError, UsageError
from refold.projections.catalog import Catalog, Parked, catalog_of, check_unchanged
from refold.projections.cursor import Context
from refold.projections.handling import FAR, NONE, Poisoned, handle
from refold.projections.log import Log
from refold.projections.projection import Projection
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
        self._suspect: int | None = None
        self._failures = 0
        self._cut = FAR

    def limit(self, position: int) -> int:
        """The last position of a batch that begins after ``position``."""
        if self._suspect is None:
            return self._cut
        before = self._suspect - 1
        return min(self._cut, before if position < before else self._suspect)

    def after_failure(self, poison: Poisoned) -> float | None:
        """How long to pause before the event is tried again; None when it was tried enough."""
        if self._suspect != poison.position:
            self._suspect, self._failures = poison.position, 0
            return 0
        self._failures += 1
        return BACKOFF_S * 2**self._failures if self._failures < ATTEMPTS_MAX else None

    def halve(self, position: int, end: int) -> None:
        """A batch up to ``end`` failed and nobody knows where."""
        self._cut = position + (end - position) // 2

    def passed(self, position: int) -> None:
        """The rows stand at a position now."""
        if position >= self._cut:
            self._cut = FAR
        if self._suspect is not None and position >= self._suspect:
            self.clear()

    def clear(self) -> None:
        """Suspect nobody."""
        self._suspect, self._failures = None, 0


def parked_for(poison: Poisoned, *, attempts: int, now: int) -> Parked:
    """A stream set aside from an event on."""
    error = described(poison.__cause__)
    return Parked(poison.stream, poison.version, poison.position, error, attempts, now)


def check_room(name: str, parked: int) -> None:
    """Refuse to set more and more streams aside."""
    if parked >= PARKED_MAX:
        raise RefoldError(
            f"projection {name!r} has set {parked} streams aside: correct its handlers, then run "
            f"`refold projections rebuild {name}`",
            code="too_many_parked",
            projection=name,
        )


def described(error: BaseException | None) -> str:
    """What went wrong, and where in the handler."""
    if error is None:
        return "unknown"
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        last = frames[-1]
        text = f"{text[:ERROR_CHARS_MAX]} ({PurePath(last.filename).name}:{last.lineno})"
    return text.encode(errors="replace").decode()


class Retry:
    """Takes up the streams that one generation has set aside."""

    def __init__(self, context: Context, projection: Projection, generation: int) -> None:
        self._context = context
        self._projection = projection
        self._generation = generation
        self._log = Log(context.log, projection)

    def stream(self, stream: str) -> Parked | None:
        """Handle what waits in a stream, in one transaction; what stops it again, if anything.

        Takes the stream up to where the generation stands, so that it goes on with all others.
        Raises :class:`~refold.errors.UsageError` where the projection has changed since.
        """
        entry = catalog_of(self._context.keeper).started(self._projection.name)
        check_unchanged(self._projection, entry.generations[self._generation])
        stopped: Poisoned | None = None
        while True:
            try:
                return self._taken_up(stream, stopped)
            except Poisoned as poison:
                # Undone as a whole: again, up to before that event.
                stopped = poison

    def _taken_up(self, stream: str, stopped: Poisoned | None) -> Parked | None:
        key = (self._projection.name, self._generation)
        with self._context.keeper.tables() as transaction:
            catalog = Catalog(transaction.execute)
            parked, fence = catalog.parked(*key).get(stream), catalog.fence(*key)
            if parked is None or fence is None:
                return None
            rows = Rows(
                self._projection.tables,
                generation=self._generation,
                read=transaction.execute,
                write=lambda: transaction,
            )
            end = fence.position if stopped is None else stopped.position - 1
            self._handle(rows, parked, min(end, fence.position))
            catalog.unpark(*key, stream)
            again = None if stopped is None else self._parked_again(parked, stopped)
            if again is not None:
                catalog.park(*key, again)
            catalog.raise_fence(*key)
            return again

    def _handle(self, rows: Rows, parked: Parked, end: int) -> None:
        without = self._log.skipped().get(parked.stream, NONE)
        for row in self._log.stream(parked.stream, first=parked.version):
            if row.position > end:
                break
            after = parked.position - 1
            handle(self._projection, rows, row, after=after, until=end, without=without)
        try:
            rows.flush()
        except UsageError as error:
            # Some event of the stream is to blame: nobody knows which.
            raise Poisoned(
                position=parked.position, stream=parked.stream, version=parked.version
            ) from error

    def _parked_again(self, parked: Parked, stopped: Poisoned) -> Parked:
        is_same = stopped.version == parked.version
        attempts = parked.attempts + 1 if is_same else 1
        return parked_for(stopped, attempts=attempts, now=self._context.clock())
