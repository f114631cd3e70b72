"""Keeping projections: catch up, follow, say how they stand, rebuild, set right what went wrong."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, Self, TypeVar

import msgspec

from refold.core.event import Event, parse_event_id
from refold.engine.checks import check_progress
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import AWAY, NotFound, StoreClosed, Unavailable, UsageError, refuse_unless, shown
from refold.ports import SelectedRows, SqlValue, TableKeeper
from refold.projections.catalog import (
    Catalog,
    CatalogEntry,
    Parked,
    begun,
    catalog_of,
    changed,
    is_unchanged,
)
from refold.projections.cursor import SKIPPED, Context, LogView, ProjectionSkipped, decisions_about
from refold.projections.dialect import quoted
from refold.projections.postgres_dialect import dialect_of
from refold.projections.projection import NONE, Projection, by_name
from refold.projections.retry import retry
from refold.projections.runner import Runner
from refold.projections.table import Table

R = TypeVar("R", bound=msgspec.Struct)

FAILURES_MAX: Final = 10
"""How often in a row the storage may be unavailable before ``run`` gives up."""
BACKOFF_MAX_S: Final = 5.0
SWAPS_MAX: Final = 10_000
State = Literal["new", "current", "changed", "unknown"]


class ProjectionStatus(NamedTuple):
    """A projection as it stands.

    ``state``: ``"new"`` was never started, ``"changed"`` is not what its rows were made by and has
    to be rebuilt; of an ``"unknown"`` one the code was not given. ``position`` is where its rows
    stand, ``lag_events`` how many positions of the log are to come, ``lag_s`` how long ago the
    first of them was recorded. ``rate`` is in positions a second at the last moves.
    ``filling_position`` is how far a rebuild has come, None where there is none; ``previous`` is
    the generation that waits to be confirmed.
    """

    name: str
    state: State
    generation: int = 0
    previous: int | None = None
    position: int = 0
    lag_events: int = 0
    lag_s: float = 0.0
    rate: float = 0.0
    moved_at_us: int = 0
    filling_position: int | None = None
    parked: tuple[Parked, ...] = ()


class Projector:
    """Keeps the rows of projections; see ``docs/explanation/projections.md`` for what it promises.

    ``rows`` is the store in whose database the rows live, by default the log's own: another file,
    or ``refold.open("memory:")`` for rows in memory. ``on_parked`` is called with the name of a
    projection and a :class:`Parked` when this projector has set a stream aside; it must not raise.
    Several projectors of one projection may run at once. One thread at a time may use a projector;
    ``close`` may be called from any.
    """

    def __init__(
        self,
        store: Store,
        projections: Iterable[Projection],
        *,
        rows: Store | None = None,
        on_parked: Callable[[str, Parked], object] | None = None,
    ) -> None:
        for one in (store, rows or store):
            check_store(one, call="Projector", instead="give refold.open(…)")
        refuse_unless(on_parked is None or callable(on_parked), "a function", on_parked=on_parked)
        keeper = (rows or store)._backend
        if not isinstance(keeper, TableKeeper):
            raise UsageError("this kind of store keeps no tables: give rows=refold.open(…)")
        self.projections = by_name(projections)
        self._store = store
        self._keeper: TableKeeper = keeper
        self._stopped = threading.Event()
        self._context = Context(store._backend, keeper, store._clock, self._stopped.wait, on_parked)
        self._runners = {
            name: Runner(self._context, projection) for name, projection in self.projections.items()
        }

    # -- follow -------------------------------------------------------------------------------

    def catch_up(self, *, progress: Callable[[int, int], None] | None = None) -> None:
        """Bring every projection to where the log ends now.

        ``progress`` gets the positions that all of them are done with, and the last of the log.
        Raises :class:`~refold.errors.UsageError` (code ``projection_changed``) where a projection
        is not what its rows were made by.
        """
        check_progress(progress)
        head = self._store.log_head()
        for runner in self._runners.values():
            runner.load()
            while runner.position < head and not self._stopped.is_set():
                runner.advance(until=head)
                if progress is not None:
                    progress(min(one.position for one in self._runners.values()), head)

    def run(self) -> None:
        """Catch up, then follow the log, until :meth:`close` is called or the store is closed.

        Where the storage is unavailable it waits and tries again, at most 10 times in a row.
        """
        failures = 0
        while not self._stopped.is_set():
            bell = self._store._bell
            rung = bell.rung
            try:
                moved = self._advanced()
                failures = 0
            except StoreClosed:
                return
            except AWAY:
                failures += 1
                if failures == FAILURES_MAX:
                    raise
                self._stopped.wait(min(0.05 * 2**failures, BACKOFF_MAX_S))
                continue
            if not moved and not self._stopped.is_set():
                bell.wait(rung)

    def close(self) -> None:
        """Let ``run``, ``catch_up`` and ``rebuild`` end after the batch they are at."""
        if self._store._process.is_here:
            self._stopped.set()
            self._store._bell.ring()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _advanced(self) -> int:
        runners = self._runners.values()
        return sum(runner.advance() for runner in runners if not self._stopped.is_set())

    # -- read ---------------------------------------------------------------------------------

    def query(self, sql: str, values: Sequence[SqlValue] = ()) -> SelectedRows:
        """The rows of a SQL query over the tables and views, and the names of their ``columns``.

        It only reads: :class:`~refold.errors.UsageError` (code ``read_only``) for a statement that
        changes anything.
        """
        return self._keeper.query(sql, values)

    def saying(self, words: Sequence[str]) -> tuple[str, Sequence[SqlValue]]:
        """What SQL tells of a row whose ``text``, a column of words, says all of these.

        A condition for ``WHERE``, and the values in it. A word with signs in it is several in a
        row.
        """
        return dialect_of(self._keeper).saying(words)

    def rows(self, table: Table[R]) -> list[R]:
        """Every row of a table in order of its key; for tests and small tables."""
        if not isinstance(table, Table):
            raise UsageError(f"rows(…) takes a refold.projections.Table, not {table!r}")
        self._check_started(table)
        columns = dialect_of(self._keeper).columns(table)
        key = ", ".join(map(quoted, table.key))
        # By its plain name: that is the current generation, whatever is swapped meanwhile.
        found = self._keeper.query(f"SELECT {columns} FROM {quoted(table.name)} ORDER BY {key}")
        return [table.row_of(values) for values in found]

    def status(self) -> list[ProjectionStatus]:
        """How each projection stands; changes nothing."""
        return [_status_of(self._context, name, one) for name, one in self.projections.items()]

    def others(self) -> list[ProjectionStatus]:
        """How those stand that have rows here and whose code was not given; changes nothing."""
        names = set(catalog_of(self._keeper).names()) - self.projections.keys()
        return [_status_of(self._context, name, None) for name in sorted(names)]

    def _check_started(self, table: Table[Any]) -> None:
        for name, projection in self.projections.items():
            if projection.tables.get(table.name) is table:
                catalog_of(self._keeper).started(name)
                return
        raise NotFound(f"none of these projections has a table {table.name!r}", table=table.name)

    # -- set right ----------------------------------------------------------------------------

    def retry(self, name: str, stream: str | None = None) -> list[Parked]:
        """Take up a stream that was set aside, or all of them; those that failed again."""
        projection = self._named(name)
        waiting = [one for one in self._parked(name) if stream in (None, one[1].stream)]
        if stream is not None and not waiting:
            raise NotFound(
                f"projection {name!r} has not set {shown(stream)} aside",
                projection=name,
                stream=stream,
            )
        failed = [
            retry(self._context, projection, generation, parked.stream)
            for generation, parked in waiting
        ]
        return [again for again in failed if again is not None]

    def skip(self, name: str, event_id: str, *, reason: str) -> list[Parked]:
        """Leave out an event that failed, now and in every rebuild, and go on with its stream.

        The log remembers it as ``projection.skipped`` in the stream ``projection-NAME``. Gives
        what stopped the stream again, if anything.
        """
        projection = self._named(name)
        stream, version = parse_event_id(event_id)
        if not isinstance(reason, str) or not reason.strip():
            raise UsageError(f"say why {event_id} is to be left out: reason=")
        if not any((one.stream, one.version) == (stream, version) for _, one in self._parked(name)):
            raise NotFound(
                f"projection {name!r} has not set {event_id} aside", projection=name, id=event_id
            )
        if version not in LogView(self._store._backend, projection).skipped().get(stream, NONE):
            # By its type, not its class: a store's own registry need not know the class.
            said = Event(SKIPPED, ProjectionSkipped(name, event_id, reason))
            self._store.append(decisions_about(name), [said])
        return self.retry(name, stream)

    def rebuild(self, name: str, *, progress: Callable[[int, int], None] | None = None) -> int:
        """Fill the tables anew beside the old and show them when they have caught up.

        Gives the number of the new generation. The one before is kept until :meth:`confirm`. A
        rebuild that was cut off goes on where it was. ``progress`` gets positions done and in all.
        Raises :class:`~refold.errors.Unavailable` where :meth:`close` was called meanwhile.
        """
        check_progress(progress)
        projection = self._named(name)
        runner = Runner(self._context, projection, generation=self._begun_filling(projection))
        runner.load()
        for _ in range(SWAPS_MAX):
            head = self._store.log_head()
            while runner.position < head:
                if self._stopped.is_set():
                    raise Unavailable(
                        f"the rebuild of projection {name!r} was stopped at position "
                        f"{runner.position}: the next one goes on from there",
                        projection=name,
                    )
                runner.advance(until=head)
                if progress is not None:
                    progress(runner.position, head)
            if self._is_swapped(runner):
                return runner.generation
        raise Unavailable(f"projection {name!r} is moved faster than it can be rebuilt")

    def confirm(self, name: str) -> int | None:
        """Drop the generation before the current one; its number, None where there is none."""

        def confirmed(catalog: Catalog, entry: CatalogEntry) -> int | None:
            if entry.previous is not None:
                catalog.drop(name, entry.generations[entry.previous])
                catalog.set_current(name, entry.current, None)
            return entry.previous

        return changed(self._keeper, name, confirmed)

    def roll_back(self, name: str) -> int:
        """Show the generation before the current one again; its number.

        It goes on from where it stood when it was swapped out, with the code that made it. What
        was current is kept in its place.
        """

        def rolled_back(catalog: Catalog, entry: CatalogEntry) -> int:
            if entry.previous is None:
                raise UsageError(
                    f"projection {name!r} has no generation to go back to", projection=name
                )
            catalog.swap(entry, entry.previous)
            return entry.previous

        return changed(self._keeper, name, rolled_back)

    def adopt(self, name: str, *, progress: Callable[[int, int], None] | None = None) -> None:
        """Show rows that this very code made: of the generation before, where it made that, or new.

        Rows that other code of the same shape made are kept in their place, for the program that
        goes on with them; those of another shape, as of an older refold, are dropped.
        """
        projection = self._named(name)
        shape = catalog_of(self._keeper).started(name).shown.made_by.shape

        def restored(catalog: Catalog, entry: CatalogEntry) -> bool:
            before = None if entry.previous is None else entry.generations[entry.previous]
            if before is None or not is_unchanged(projection, before):
                return False
            catalog.swap(entry, before.number)
            return True

        if not changed(self._keeper, name, restored):
            self.rebuild(name, progress=progress)
            if shape != projection.fingerprint().shape:
                self.confirm(name)

    def _begun_filling(self, projection: Projection) -> int:
        """The generation to fill: one begun by the same code, else a new one."""
        name, now = projection.name, self._context.clock()
        begun(self._keeper, projection, now=now)

        def filling(catalog: Catalog, entry: CatalogEntry) -> int:
            number = max(entry.generations) + 1
            if entry.filling is not None:
                if is_unchanged(projection, entry.generations[entry.filling]):
                    return entry.filling
                catalog.drop(name, entry.generations[entry.filling])
            return catalog.add(projection, number, instead_of=entry.shown, now=now).number

        return changed(self._keeper, name, filling)

    def _is_swapped(self, filled: Runner) -> bool:
        """Swap a generation in, unless the current one has come further: nobody's reads go back."""
        name, generation = filled.projection.name, filled.generation

        def swapped(catalog: Catalog, entry: CatalogEntry) -> bool:
            if entry.current == generation:
                return True  # Another rebuild of the same generation did.
            if generation not in entry.generations:
                raise NotFound(f"another rebuild of projection {name!r} took the place of this one")
            # Where the log went back, rows that stand beyond it are nobody's to wait for.
            if filled.position < entry.shown.position <= self._store.log_head():
                return False
            if entry.previous is not None:
                catalog.drop(name, entry.generations[entry.previous])
            catalog.swap(entry, generation)
            return True

        return changed(self._keeper, name, swapped)

    def _named(self, name: str) -> Projection:
        if not isinstance(name, str) or name not in self.projections:
            known = ", ".join(self.projections) or "none"
            raise NotFound(
                f"there is no projection {shown(name)} here, only {known}", projection=name
            )
        return self.projections[name]

    def _parked(self, name: str) -> list[tuple[int, Parked]]:
        """What is set aside in what is shown and in what is being filled, by generation."""
        catalog = catalog_of(self._keeper)
        entry = catalog.started(name)
        return [
            (generation, parked)
            for generation in (entry.current, entry.filling)
            if generation is not None
            for parked in catalog.parked(name, generation).values()
        ]


def _status_of(context: Context, name: str, projection: Projection | None) -> ProjectionStatus:
    """How a projection stands, given with its code or not; reads only."""
    head = context.log.log_head()
    catalog = catalog_of(context.keeper)
    entry = catalog.entry(name)
    if entry is None:
        return ProjectionStatus(name, "new", lag_events=head, lag_s=_lag_s(context, 0, head))
    shown, filling = entry.shown, entry.filling
    state: State = "unknown"
    if projection is not None:
        state = "current" if is_unchanged(projection, shown) else "changed"
    return ProjectionStatus(
        name,
        state,
        shown.number,
        entry.previous,
        shown.position,
        max(head - shown.position, 0),
        _lag_s(context, shown.position, head),
        shown.rate,
        shown.moved_at,
        None if filling is None else entry.generations[filling].position,
        tuple(catalog.parked(name, shown.number).values()),
    )


def _lag_s(context: Context, position: int, head: int) -> float:
    if position >= head:
        return 0.0
    (first,) = context.log.log(after=position, categories=None, types=None, rows_max=1)
    return max(context.clock() - first.recorded_at, 0) / 1e6
