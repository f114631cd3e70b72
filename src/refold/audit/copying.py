"""The seals of a log in its copy: the same tiles, secrets, streams and heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from refold.audit import tables
from refold.audit.tables import SealTables, keeper_of, tables_of
from refold.audit.tiles import reader
from refold.audit.tree import root_of
from refold.engine.store import Store
from refold.errors import Corrupt, Unavailable, UsageError
from refold.ports import TableKeeper, TableTransaction
from refold.projections.postgres_dialect import dialect_of

ROWS_PER_PAGE: Final = 1_000
TRIES_MAX: Final = 10


class _Table(NamedTuple):
    """A table: its name, its key, and its other columns."""

    name: str
    key: Sequence[str]
    others: Sequence[str]

    def rows(self, keeper: TableKeeper) -> Iterator[list[tuple[Any, ...]]]:
        """All rows in order of the key, in pages."""
        columns, key = ", ".join([*self.key, *self.others]), ", ".join(self.key)
        places = ", ".join("?" * len(self.key))
        after: tuple[Any, ...] | None = None
        while keeper.query(dialect_of(keeper).exists, (self.name,)):  # The last came later.
            over = "" if after is None else f"WHERE ({key}) > ({places})"
            sql = f"SELECT {columns} FROM {self.name} {over} ORDER BY {key} LIMIT {ROWS_PER_PAGE}"
            page = [tuple(row) for row in keeper.query(sql, after or ())]
            if not page:
                return
            yield page
            after = page[-1][: len(self.key)]

    @property
    def put(self) -> str:
        """The statement that puts a row, in place of the one with its key."""
        columns = [*self.key, *self.others]
        new = ", ".join(f"{name} = excluded.{name}" for name in self.others)
        return (
            f"INSERT INTO {self.name} ({', '.join(columns)}) VALUES "
            f"({', '.join('?' * len(columns))}) "
            f"ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {new}"
        )


_LOG: Final = _Table(
    "audit_log", ["id"], ["format", "origin", "keys", "size", "began_size", "began_at"]
)
_BESIDE: Final = (
    _Table("audit_tiles", ["level", "tile"], ["hashes", "secret", "salts"]),
    _Table("audit_streams", ["stream"], ["pseudonym", "version", "leaf"]),
    _Table("audit_checkpoints", ["size"], ["root", "note", "made_at"]),
    _Table("audit_redacted", ["position"], ["entry", "salt"]),
)
_STAMPS: Final = _Table("audit_timestamps", ["size", "stamped_at"], ["note", "answer"])


def copy_seals(source: Store, into: Store) -> int:
    """Store the seals of a log beside its copy, and compare them; how many events are sealed.

    Both then go on as one log: seal only one of them, or they are a fork of each other. Raises
    :class:`~refold.errors.UsageError` where the copy has not all that is sealed, or was sealed by
    itself.
    """
    here, there = keeper_of(source), keeper_of(into)
    stored = tables_of(source)
    _check_target(stored, into)
    for _ in range(TRIES_MAX):
        sealed = stored.log()
        if into.log_head() < sealed.size:
            raise UsageError(
                f"{sealed.size:,} events are sealed, and the copy has {into.log_head():,}: copy "
                "those that came meanwhile first"
            )
        _copy(here, there)
        if stored.log() == sealed:
            _check_same(here, there)
            return sealed.size
    raise Unavailable("the log is sealed faster than its seals are copied: stop that meanwhile")


def _check_target(stored: SealTables, into: Store) -> None:
    """Refuse a copy with seals that are not the beginning of these."""
    if not tables.is_sealed(into):
        return
    mine, other = stored.log(), tables_of(into)
    its = other.log()
    if its.origin == mine.origin and its.size <= mine.size:
        roots = [root_of(its.size, reader(one.tile)) for one in (stored, other)]
        if roots[0] == roots[1]:
            return
    raise UsageError(f"the store to copy into was sealed by itself, as {its.origin}")


def _copy(here: TableKeeper, there: TableKeeper) -> None:
    def make(transaction: TableTransaction) -> None:
        tables.make_tables(transaction, sql=getattr(there, "sql", "sqlite"))
        transaction.execute("DELETE FROM audit_checkpoints")  # Some are kept for an hour alone.

    there.write(lambda begin: make(begin()))
    for table in _kept(here):  # The log at last: before that, nothing is sealed there.
        for page in table.rows(here):
            _put(there, table, page)


def _kept(here: TableKeeper) -> Sequence[_Table]:
    """The tables that are copied; a log that was sealed before there were time stamps has none."""
    has_stamps = here.query(dialect_of(here).exists, (_STAMPS.name,))
    return [*_BESIDE, *([_STAMPS] if has_stamps else []), _LOG]


def _put(there: TableKeeper, table: _Table, page: Sequence[tuple[Any, ...]]) -> None:
    there.write(lambda begin: begin().executemany(table.put, page))


def _check_same(here: TableKeeper, there: TableKeeper) -> None:
    for table in _kept(here):
        pages = zip(table.rows(here), table.rows(there), strict=True)
        try:
            is_same = all(mine == other for mine, other in pages)
        except ValueError:
            is_same = False
        if not is_same:
            raise Corrupt(f"the copy has other seals: {table.name} is not the same")
