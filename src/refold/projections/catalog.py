"""The books of projections: generations, progress and what is set aside, beside their rows.

They stand in the database of the rows, are made on first use, and are only ever changed in the
transaction that changes the rows. A generation is one filling of a projection's tables: ``fence``
of its progress goes up with every change, so that who worked on an older state notices.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from refold.errors import NotFound, UsageError
from refold.ports import TableKeeper, Transaction
from refold.projections.projection import Fingerprint, Projection
from refold.projections.rows import Query, named, physical_name
from refold.projections.table import quoted

PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
_BOOKS: Final = (
    """
CREATE TABLE IF NOT EXISTS refold_projections (
    name TEXT PRIMARY KEY,
    current INTEGER NOT NULL,  -- the generation that the views show
    previous INTEGER           -- the one before it, kept until it is confirmed
) STRICT, WITHOUT ROWID""",
    """
CREATE TABLE IF NOT EXISTS refold_generations (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    shape TEXT NOT NULL,       -- what the projection was when this generation was begun
    code TEXT NOT NULL,
    python TEXT NOT NULL,      -- the version of Python that the code is for
    tables TEXT NOT NULL,      -- a JSON list of names
    views TEXT NOT NULL,       -- a JSON object of SELECTs by name
    PRIMARY KEY (projection, generation)
) STRICT, WITHOUT ROWID""",
    """
CREATE TABLE IF NOT EXISTS refold_progress (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    part INTEGER NOT NULL,     -- one of as many as there are rows for the generation
    position INTEGER NOT NULL, -- the last position of the log that is in the rows
    fence INTEGER NOT NULL,
    moved_at INTEGER NOT NULL, -- microseconds UTC
    rate REAL NOT NULL,        -- positions a second at the last moves
    PRIMARY KEY (projection, generation, part)
) STRICT, WITHOUT ROWID""",
    """
CREATE TABLE IF NOT EXISTS refold_parked (
    projection TEXT NOT NULL,
    generation INTEGER NOT NULL,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,  -- of the event that failed: it and what follows wait
    position INTEGER NOT NULL,
    error TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    parked_at INTEGER NOT NULL,
    PRIMARY KEY (projection, generation, stream)
) STRICT, WITHOUT ROWID""",
)
_STANDING: Final = """
SELECT current, previous, generation, shape, code, python, tables, views
FROM refold_projections JOIN refold_generations ON projection = name
WHERE name = ? ORDER BY generation"""
_PROGRESS: Final = """
SELECT part, position, fence, moved_at, rate FROM refold_progress
WHERE projection = ? AND generation = ? ORDER BY part"""
_PARKED: Final = """
SELECT stream, version, position, error, attempts, parked_at FROM refold_parked
WHERE projection = ? AND generation = ? ORDER BY position"""


class Generation(NamedTuple):
    """One filling of a projection's tables."""

    number: int
    made_by: Fingerprint
    python: str
    tables: tuple[str, ...]
    views: dict[str, str]


class Progress(NamedTuple):
    """How far one part of a generation has come."""

    part: int
    position: int
    fence: int
    moved_at: int
    rate: float


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


class Standing(NamedTuple):
    """A projection as the books have it; ``filling`` is a generation that is being rebuilt."""

    name: str
    current: int
    previous: int | None
    generations: dict[int, Generation]

    @property
    def filling(self) -> int | None:
        """The generation that a rebuild has begun."""
        return max((g for g in self.generations if g > self._last), default=None)

    @property
    def next(self) -> int:
        """A number that no generation has."""
        return max(self.generations) + 1

    @property
    def _last(self) -> int:
        return max(self.current, self.previous or 0)


class Books(NamedTuple):
    """The books, read through a transaction or from what is stored (``TableKeeper.query``)."""

    read: Query

    def standing(self, name: str) -> Standing | None:
        """The projection, or None where it was never started."""
        # One statement: a swap between two would show a generation that is no more.
        found = self.read(_STANDING, (name,))
        if not found:
            return None
        generations = {
            number: Generation(
                number,
                Fingerprint(shape, code),
                python,
                tuple(msgspec.json.decode(tables)),
                msgspec.json.decode(views),
            )
            for _, _, number, shape, code, python, tables, views in found
        }
        current, previous, *_ = found[0]
        return Standing(name, current, previous, generations)

    def progress(self, name: str, generation: int) -> list[Progress]:
        """The progress of each part of a generation; none where there is no such generation."""
        return [Progress(*row) for row in self.read(_PROGRESS, (name, generation))]

    def parked(self, name: str, generation: int) -> dict[str, Parked]:
        """The streams set aside in a generation, by name."""
        return {row[0]: Parked(*row) for row in self.read(_PARKED, (name, generation))}

    def names(self) -> list[str]:
        """The projections that were ever started."""
        return [name for (name,) in self.read("SELECT name FROM refold_projections ORDER BY 1", ())]


def stored_books(keeper: TableKeeper) -> Books | None:
    """The books of what is stored; None where there are none yet."""
    found = keeper.query("SELECT 1 FROM sqlite_schema WHERE name = 'refold_parked'")
    return Books(keeper.query) if found else None


def stored_standing(keeper: TableKeeper, name: str) -> Standing:
    """A projection as it is stored; :class:`~refold.errors.NotFound` where it was never started."""
    books = stored_books(keeper)
    standing = books.standing(name) if books else None
    if standing is None:
        raise NotFound(f"projection {name!r} was never started here", projection=name)
    return standing


def begun(keeper: TableKeeper, projection: Projection, *, now: int) -> Standing:
    """The projection as it stands; begins its first generation where it has none."""
    books = stored_books(keeper)
    standing = books.standing(projection.name) if books else None
    if standing is not None:
        return standing
    with keeper.tables() as transaction:
        for statement in _BOOKS:
            transaction.execute(statement)
        books = Books(transaction.execute)
        standing = books.standing(projection.name)  # Another may have been first.
        if standing is None:
            generation = add_generation(transaction, projection, 1, instead_of=None, now=now)
            transaction.execute(
                "INSERT INTO refold_projections VALUES (?, ?, NULL)", (projection.name, 1)
            )
            show(transaction, projection.name, generation, instead_of=None)
            standing = Standing(projection.name, 1, None, {1: generation})
        return standing


def add_generation(
    transaction: Transaction,
    projection: Projection,
    number: int,
    *,
    instead_of: Generation | None,
    now: int,
) -> Generation:
    """A new generation with empty tables and its progress at the beginning of the log."""
    wanted = {*projection.tables, *projection.views} - {*_shown_names(instead_of)}
    _check_free(transaction, projection.name, sorted(wanted))
    shape, code = projection.fingerprint()
    generation = Generation(
        number, Fingerprint(shape, code), PYTHON, tuple(projection.tables), projection.views
    )
    for table in projection.tables.values():
        for statement in table.created(physical_name(table.name, number)):
            transaction.execute(statement)
    tables = msgspec.json.encode(generation.tables).decode()
    views = msgspec.json.encode(generation.views).decode()
    transaction.execute(
        "INSERT INTO refold_generations VALUES (?, ?, ?, ?, ?, ?, ?)",
        (projection.name, number, shape, code, PYTHON, tables, views),
    )
    transaction.execute(
        "INSERT INTO refold_progress VALUES (?, ?, 0, 0, 0, ?, 0)", (projection.name, number, now)
    )
    return generation


def drop_generation(transaction: Transaction, name: str, generation: Generation) -> None:
    """Take a generation away, rows and all."""
    for table in generation.tables:
        physical = physical_name(table, generation.number)
        transaction.execute(f"DROP TABLE IF EXISTS {quoted(physical)}")
    for book in ("generations", "progress", "parked"):
        transaction.execute(
            f"DELETE FROM refold_{book} WHERE projection = ? AND generation = ?",
            (name, generation.number),
        )


def show(
    transaction: Transaction, name: str, generation: Generation, *, instead_of: Generation | None
) -> None:
    """Let the plain names of tables and views mean a generation."""
    for view in _shown_names(instead_of):
        transaction.execute(f"DROP VIEW IF EXISTS {quoted(view)}")
    names = {table: physical_name(table, generation.number) for table in generation.tables}
    _check_free(transaction, name, _shown_names(generation))
    for table, physical in names.items():
        transaction.execute(f"CREATE VIEW {quoted(table)} AS SELECT * FROM {quoted(physical)}")
    for view, sql in generation.views.items():
        transaction.execute(f"CREATE VIEW {quoted(view)} AS {named(sql, names)}")
    for view in generation.views:
        # SQLite looks into a view only when it is read: refuse a wrong one now.
        transaction.execute(f"SELECT * FROM {quoted(view)} LIMIT 0")


def set_progress(
    transaction: Transaction, name: str, generation: int, positions: Sequence[int], *, now: int
) -> None:
    """Cut a generation into as many parts as there are positions; the fence goes up."""
    fence = raised_fence(transaction, name, generation)
    key = (name, generation)
    transaction.execute("DELETE FROM refold_progress WHERE projection = ? AND generation = ?", key)
    transaction.executemany(
        "INSERT INTO refold_progress VALUES (?, ?, ?, ?, ?, ?, 0)",
        [(*key, part, position, fence, now) for part, position in enumerate(positions)],
    )


def raised_fence(transaction: Transaction, name: str, generation: int) -> int:
    """Let everybody who works on a generation look at the books again; the highest fence."""
    transaction.execute(
        "UPDATE refold_progress SET fence = fence + 1 WHERE projection = ? AND generation = ?",
        (name, generation),
    )
    ((fence,),) = transaction.execute(
        "SELECT ifnull(max(fence), 0) FROM refold_progress WHERE projection = ? AND generation = ?",
        (name, generation),
    )
    return int(fence)


def check_unchanged(projection: Projection, generation: Generation) -> None:
    """Refuse to go on with rows that another code, or other tables, made."""
    now, then = projection.fingerprint(), generation.made_by
    if now.shape == then.shape and (now.code == then.code or generation.python != PYTHON):
        # The code of the same handlers differs between versions of Python: there the shape decides.
        return
    raise UsageError(
        f"projection {projection.name!r} is not what its rows were made by: run "
        f"`refold projections rebuild {projection.name}`, or go on with the code that made them",
        code="projection_changed",
        projection=projection.name,
        generation=generation.number,
    )


def adopt_python(keeper: TableKeeper, projection: Projection, generation: Generation) -> None:
    """From now on compare with the code as this version of Python has it."""
    if generation.python == PYTHON:
        return
    with keeper.tables() as transaction:
        transaction.execute(
            "UPDATE refold_generations SET code = ?, python = ? "
            "WHERE projection = ? AND generation = ?",
            (projection.fingerprint().code, PYTHON, projection.name, generation.number),
        )


def _shown_names(generation: Generation | None) -> list[str]:
    return [] if generation is None else [*generation.views, *generation.tables]


def _check_free(transaction: Transaction, name: str, wanted: Sequence[str]) -> None:
    for view in wanted:
        if transaction.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (view,)):
            raise UsageError(
                f"projection {name!r} cannot have a table or view {view!r}: the database has one",
                code="name_taken",
                projection=name,
                table=view,
            )
