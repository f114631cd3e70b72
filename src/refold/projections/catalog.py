"""The catalog: which projections there are, their generations, progress, and what is set aside.

It stands in the database of the rows, is made on first use, and is only ever changed in the
transaction that changes the rows. A generation is one filling of a projection's tables: its
``fence`` goes up with every change, so that who worked on an older state notices.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec

from refold.core.fingerprint import CODE_REVISION
from refold.errors import NotFound, UsageError
from refold.ports import Begin, TableKeeper
from refold.projections.dialect import SQLITE, Dialect, named, physical_name, quoted
from refold.projections.postgres_dialect import dialect_of
from refold.projections.projection import Fingerprint, Projection
from refold.projections.rows import Execute

T = TypeVar("T")

_decode = msgspec.json.decode
PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}/{CODE_REVISION}"
"""By what the fingerprint of some code was made: another Python, or refold, makes another."""
# One statement: a swap between two would show a generation that is no more.
_ENTRY: Final = """
SELECT current, previous, filled.generation, shape, code, python, tables, views,
    min(position), max(fence), max(moved_at), sum(rate), count(*)
FROM refold_projections
JOIN refold_generations AS filled ON filled.projection = name
JOIN refold_progress AS moved ON moved.projection = name AND moved.generation = filled.generation
WHERE name = ?
GROUP BY current, previous, filled.generation, shape, code, python, tables, views
ORDER BY filled.generation"""
_PARKED: Final = """
SELECT stream, version, position, error, attempts, parked_at FROM refold_parked
WHERE projection = ? AND generation = ? ORDER BY position"""


class Generation(NamedTuple):
    """One filling of a projection's tables, and how far it has come; ``rate`` is a second's."""

    number: int
    made_by: Fingerprint
    python: str
    tables: Sequence[str]
    views: dict[str, str]
    position: int = 0
    fence: int = 0
    moved_at: int = 0
    rate: float = 0.0
    parts: int = 1

    @property
    def names(self) -> list[str]:
        """The plain names that mean it while it is shown."""
        return [*self.views, *self.tables]


class CatalogEntry(NamedTuple):
    """A projection as the catalog has it."""

    name: str
    current: int
    previous: int | None
    generations: dict[int, Generation]

    @property
    def shown(self) -> Generation:
        """The generation that the plain names mean."""
        return self.generations[self.current]

    @property
    def filling(self) -> int | None:
        """The generation that a rebuild has begun."""
        last = max(self.current, self.previous or 0)
        return max((number for number in self.generations if number > last), default=None)


class Parked(NamedTuple):
    """A stream that was set aside: the event that failed and why; what follows it waits.

    ``attempts`` is how often that event was tried alone.
    """

    stream: str
    version: int
    position: int
    error: str
    attempts: int
    parked_at_us: int

    @property
    def id(self) -> str:
        """The id of the event that failed."""
        return f"{self.stream}@{self.version}"


class Catalog(NamedTuple):
    """The catalog, read from what is stored (``TableKeeper.query``) or through a transaction.

    Only through a transaction can it be changed. ``dialect`` is for what makes tables.
    """

    execute: Execute
    dialect: Dialect = SQLITE

    def entry(self, name: str) -> CatalogEntry | None:
        """The projection, or None where it was never started."""
        found = self.execute(_ENTRY, (name,))
        if not found:
            return None
        generations = {
            number: Generation(
                number, Fingerprint(shape, code), python, _decode(tables), _decode(views), *progress
            )
            for _, _, number, shape, code, python, tables, views, *progress in found
        }
        current, previous, *_ = found[0]
        return CatalogEntry(name, current, previous, generations)

    def started(self, name: str) -> CatalogEntry:
        """The same; :class:`~refold.errors.NotFound` where it was never started."""
        entry = self.entry(name)
        if entry is None:
            raise NotFound(f"projection {name!r} was never started here", projection=name)
        return entry

    def parked(self, name: str, generation: int) -> dict[str, Parked]:
        """The streams set aside in a generation, by name."""
        return {row[0]: Parked(*row) for row in self.execute(_PARKED, (name, generation))}

    def names(self) -> list[str]:
        """The projections that were ever started."""
        found = self.execute("SELECT name FROM refold_projections ORDER BY name")
        return [name for (name,) in found]

    def add(
        self, projection: Projection, number: int, *, instead_of: Generation | None, now: int
    ) -> Generation:
        """A new generation with empty tables and its progress at the beginning of the log."""
        name, views = projection.name, projection.views_in(self.dialect)
        made_by = projection.fingerprint()
        generation = Generation(number, made_by, PYTHON, tuple(projection.tables), views)
        replaced = [] if instead_of is None else instead_of.names
        self._check_free(name, sorted({*generation.names} - {*replaced}))
        for table in projection.tables.values():
            for statement in self.dialect.create(table, physical_name(table.name, number)):
                self.execute(statement)
        facts = (generation.tables, generation.views)
        texts = [msgspec.json.encode(fact).decode() for fact in facts]
        self.execute(
            "INSERT INTO refold_generations VALUES (?, ?, ?, ?, ?, ?, ?)",
            (name, number, *made_by, PYTHON, *texts),
        )
        self.execute(
            "INSERT INTO refold_progress VALUES (?, ?, 0, 0, 0, ?, 0)", (name, number, now)
        )
        return generation

    def drop(self, name: str, generation: Generation) -> None:
        """Take a generation away, rows and all."""
        for table in generation.tables:
            physical = physical_name(table, generation.number)
            # SQLite 3.54 forgets the columns beside the words of a full-text table that it drops.
            for part in (physical, f"{physical}_content"):
                self.execute(f"DROP TABLE IF EXISTS {quoted(part)}")
        for table in ("generations", "progress", "parked"):
            self.execute(
                f"DELETE FROM refold_{table} WHERE projection = ? AND generation = ?",
                (name, generation.number),
            )

    def show(self, name: str, generation: Generation, *, instead_of: Generation | None) -> None:
        """Let the plain names of tables and views mean a generation."""
        for view in [] if instead_of is None else instead_of.names:
            self.execute(f"DROP VIEW IF EXISTS {quoted(view)}")
        self._check_free(name, generation.names)
        names = {table: physical_name(table, generation.number) for table in generation.tables}
        plain = {table: f"SELECT * FROM {quoted(physical)}" for table, physical in names.items()}
        views = {view: named(sql, names) for view, sql in generation.views.items()}
        for view, sql in {**plain, **views}.items():
            self.execute(f"CREATE VIEW {quoted(view)} AS {sql}")
        for view in views:
            # A view may be looked into only when it is read: refuse a wrong one now.
            self.execute(f"SELECT * FROM {quoted(view)} LIMIT 0")

    def set_current(self, name: str, current: int, previous: int | None) -> None:
        """Say which generation is shown, and which is kept until it is confirmed."""
        self.execute(
            "UPDATE refold_projections SET current = ?, previous = ? WHERE name = ?",
            (current, previous, name),
        )

    def swap(self, entry: CatalogEntry, generation: int) -> None:
        """Show a generation; the one that was shown is kept until it is confirmed."""
        self.show(entry.name, entry.generations[generation], instead_of=entry.shown)
        self.set_current(entry.name, generation, entry.current)
        for number in (generation, entry.current):
            self.raise_fence(entry.name, number)

    def raise_fence(self, name: str, generation: int) -> None:
        """Let everybody who works on a generation look at the catalog again."""
        self.execute(
            "UPDATE refold_progress SET fence = fence + 1 WHERE projection = ? AND generation = ?",
            (name, generation),
        )

    def move(self, name: str, generation: int, position: int, *, rate: float, now: int) -> None:
        """The rows stand at a position now; the fence goes up."""
        self.execute(
            "UPDATE refold_progress SET position = ?, fence = fence + 1, moved_at = ?, rate = ? "
            "WHERE projection = ? AND generation = ?",
            (position, now, rate, name, generation),
        )

    def park(self, name: str, generation: int, parked: Parked) -> None:
        """Set a stream aside."""
        self.unpark(name, generation, parked.stream)
        self.execute(
            "INSERT INTO refold_parked VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (name, generation, *parked)
        )

    def unpark(self, name: str, generation: int, stream: str) -> None:
        """Forget that a stream was set aside."""
        self.execute(
            "DELETE FROM refold_parked WHERE projection = ? AND generation = ? AND stream = ?",
            (name, generation, stream),
        )

    def _check_free(self, name: str, wanted: Sequence[str]) -> None:
        for view in wanted:
            if self.execute(self.dialect.exists, (view,)):
                raise UsageError(
                    f"projection {name!r} cannot have a table or view {view!r}: "
                    "the database has one",
                    code="name_taken",
                    projection=name,
                    table=view,
                )


def catalog_of(keeper: TableKeeper) -> Catalog:
    """The catalog as it is stored; an empty one where there is none yet."""
    if keeper.query(dialect_of(keeper).exists, ("refold_parked",)):
        return Catalog(keeper.query)
    return Catalog(lambda sql, values=(): [])  # noqa: ARG005


def changed(keeper: TableKeeper, name: str, change: Callable[[Catalog, CatalogEntry], T]) -> T:
    """What a change of the catalog answers, given the projection as it stands in a transaction."""
    catalog_of(keeper).started(name)  # Else a catalog that was never made would be looked into.

    def within(begin: Begin) -> T:
        catalog = Catalog(begin().execute, dialect_of(keeper))
        return change(catalog, catalog.started(name))

    return keeper.write(within)


def begun(keeper: TableKeeper, projection: Projection, *, now: int) -> CatalogEntry:
    """The projection as it stands; begins its first generation where it has none."""
    name = projection.name
    entry = catalog_of(keeper).entry(name)
    if entry is not None:
        return entry

    def within(begin: Begin) -> CatalogEntry:
        catalog = Catalog(begin().execute, dialect_of(keeper))
        for statement in catalog.dialect.catalog():
            catalog.execute(statement)
        if catalog.entry(name) is None:  # Another may have been first.
            generation = catalog.add(projection, 1, instead_of=None, now=now)
            catalog.execute("INSERT INTO refold_projections VALUES (?, 1, NULL)", (name,))
            catalog.show(name, generation, instead_of=None)
        return catalog.started(name)

    return keeper.write(within)


def check_unchanged(projection: Projection, generation: Generation) -> None:
    """Refuse to go on with rows that another code, or other tables, made."""
    if is_unchanged(projection, generation):
        return
    raise UsageError(
        f"projection {projection.name!r} is not what its rows were made by: run "
        f"`refold projections rebuild {projection.name}`, or go on with the code that made them",
        code="projection_changed",
        projection=projection.name,
        generation=generation.number,
    )


def is_unchanged(projection: Projection, generation: Generation) -> bool:
    """Whether a generation can be gone on with by a projection as it is now.

    The code of the same handlers differs between versions of Python: there the shape decides. One
    that was filled in several parts, by an older refold, has to be filled anew.
    """
    now, then = projection.fingerprint(), generation.made_by
    same_code = now.code == then.code or generation.python != PYTHON
    return now.shape == then.shape and same_code and generation.parts == 1


def adopt_python(keeper: TableKeeper, projection: Projection, generation: Generation) -> None:
    """From now on compare with the code as this version of Python has it."""
    if generation.python == PYTHON:
        return
    adopted = (projection.fingerprint().code, PYTHON, projection.name, generation.number)
    sql = (
        "UPDATE refold_generations SET code = ?, python = ? WHERE projection = ? AND generation = ?"
    )
    keeper.write(lambda begin: begin().execute(sql, adopted))
