"""The rows that a projection's handlers work on: a unit of work over its tables.

Handlers read and write values in memory; what they changed goes to SQL in one statement a table,
in the transaction that moves the progress too. So a batch of events costs a handful of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from refold.errors import UsageError
from refold.ports import SqlValue, TableTransaction
from refold.projections.dialect import SQLITE, Dialect, named, physical_name
from refold.projections.table import Table, Values

R = TypeVar("R", bound=msgspec.Struct)


class Execute(Protocol):
    """Runs one statement, in a transaction or by itself."""

    def __call__(self, sql: str, values: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """The rows of the statement."""
        ...


class Raced(Exception):
    """Somebody else has changed the rows meanwhile: the batch has to be begun again."""


class _Bound(NamedTuple):
    """A table in one generation: the statements for it, and the rows in memory (None: no row)."""

    select: str
    put: str
    delete: str
    held: dict[Values, Values | None]
    dirty: dict[Values, None]


class Rows:
    """What handlers are given: ``get``, ``put``, ``delete`` and ``execute``.

    A row that ``get`` gives is the handler's own: what it changes counts when it is ``put``.
    """

    def __init__(
        self,
        tables: Mapping[str, Table[Any]],
        *,
        generation: int,
        read: Execute,
        write: Callable[[], TableTransaction],
        dialect: Dialect = SQLITE,
    ) -> None:
        self.names = names = {name: physical_name(name, generation) for name in tables}
        self._bound = {name: _bound(one, names[name], dialect) for name, one in tables.items()}
        self._values = dialect.values
        self._read = read
        self._write = write
        self._complete = False
        self._is_written_through = False

    def get(self, table: Table[R], key: object) -> R | None:
        """The row of a key (a tuple, or the value of a single column); None where there is none."""
        bound = self._of(table)
        place = table.key_of(key)
        held = bound.held
        if place not in held:
            found = [] if self._complete else self._read(bound.select, place)
            held[place] = found[0] if found else None
        values = held[place]
        return None if values is None else table.row_of(values)

    def put(self, table: Table[R], row: R) -> None:
        """Keep a row, in place of the one with its key."""
        bound, values = self._of(table), self._values(table, row)
        self._change(bound, table.key_in(values), values)

    def delete(self, table: Table[Any], key: object) -> None:
        """Take a row away; does nothing where there is none."""
        self._change(self._of(table), table.key_of(key), None)

    def execute(self, sql: str, values: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """Run SQL in the same transaction; ``{name}`` stands for a table of the projection.

        Sees what was put before it. Every call goes to the database and the write lock is held
        from the first one on: prefer ``get`` and ``put``.
        """
        self.flush()
        found = self._write().execute(named(sql, self.names), values)
        self.forget()  # The statement may have changed any of the rows.
        return found

    def flush(self) -> None:
        """Write what was changed."""
        if not self.dirty:
            return
        transaction = self._write()
        for bound in self._bound.values():
            if not bound.dirty:
                continue
            values = [bound.held[key] for key in bound.dirty]
            put = [row for row in values if row is not None]
            if put:
                transaction.executemany(bound.put, put)
            if len(put) < len(values):
                gone = [key for key in bound.dirty if bound.held[key] is None]
                transaction.executemany(bound.delete, gone)
            bound.dirty.clear()

    def forget(self) -> None:
        """Drop what is in memory; what was changed and not written is lost."""
        self._complete = False
        for bound in self._bound.values():
            bound.held.clear()
            bound.dirty.clear()

    def begin_empty(self) -> None:
        """The tables have no rows: until something is forgotten, memory knows all there are."""
        self.forget()
        self._complete = True

    def write_through(self) -> None:
        """From now on write each change at once: what SQL refuses is told to who changes it."""
        self._is_written_through = True

    @property
    def held(self) -> int:
        """How many rows are in memory."""
        return sum(len(bound.held) for bound in self._bound.values())

    @property
    def dirty(self) -> int:
        """How many rows are changed and not written."""
        return sum(len(bound.dirty) for bound in self._bound.values())

    def _change(self, bound: _Bound, key: Values, values: Values | None) -> None:
        bound.held[key] = values
        bound.dirty[key] = None
        if self._is_written_through:
            try:
                self.flush()
            except UsageError:
                self.forget()
                raise

    def _of(self, table: Table[Any]) -> _Bound:
        try:
            return self._bound[table.name]
        except KeyError:
            known = ", ".join(self._bound)
            raise UsageError(
                f"table {table.name!r} is not of this projection: it has {known}"
            ) from None


def _bound(table: Table[Any], physical: str, sql: Dialect) -> _Bound:
    place = (table, physical)
    return _Bound(sql.select(*place), sql.put(*place), sql.delete(*place), {}, {})
