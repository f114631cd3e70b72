"""What PostgreSQL says otherwise than SQLite, and which of the two keeps a projection's tables."""

from __future__ import annotations

from importlib import resources
from typing import Any, Final

from refold.errors import UsageError
from refold.ports import TableKeeper
from refold.projections.dialect import SQLITE, Dialect, quoted
from refold.projections.table import Column, Table

NAME_BYTES_MAX: Final = 63
"""A longer name would be cut short (NAMEDATALEN), and could then be another's."""
_TYPES: Final = {
    "TEXT": 'text COLLATE "C"',  # In the order of its bytes, as SQLite has it.
    "INTEGER": "bigint",
    "REAL": "double precision",
    "BLOB": "bytea",
}


class PostgresDialect(Dialect):
    """SQL as PostgreSQL has it."""

    exists = """
SELECT 1 FROM pg_class WHERE relname = ? AND relnamespace = (
    SELECT oid FROM pg_namespace WHERE nspname = current_schema()
)"""
    functions = {"how_many": "sum", "if_null": "coalesce", "json_object_of": "json_object_agg"}

    def catalog(self) -> list[str]:
        """See :class:`Dialect`."""
        text = (resources.files("refold.projections") / "catalog.postgres.sql").read_text()
        return text.split(";")[:-1]

    def create(self, table: Table[Any], physical: str) -> list[str]:
        """See :class:`Dialect`; a table of words is SQLite's alone."""
        if table.words:
            why = f"table {table.name!r} finds rows by their words, which PostgreSQL keeps none of"
            raise UsageError(
                f"{why}: keep it in a file, Projector(…, rows=refold.open('rows.db'))",
                code="no_full_text",
                table=table.name,
            )
        if len(physical) > NAME_BYTES_MAX:
            raise UsageError(f"the name of table {table.name!r} is too long for PostgreSQL")
        columns = [
            f"{quoted(c.name)} {_type_of(c)}{'' if c.nullable else ' NOT NULL'}"
            for c in table.columns
        ]
        key = ", ".join(map(quoted, table.key))
        made = f"CREATE TABLE {quoted(physical)} ({', '.join(columns)}, PRIMARY KEY ({key}))"
        indexes = [
            f"CREATE INDEX ON {quoted(physical)} ({', '.join(map(quoted, index))})"
            for index in table.indexes
        ]
        return [made, *indexes]

    def put(self, table: Table[Any], physical: str) -> str:
        """See :class:`Dialect`."""
        names = [quoted(column.name) for column in table.columns]
        places = ", ".join("?::integer::boolean" if _is_bit(c) else "?" for c in table.columns)
        new = [f"{n} = excluded.{n}" for n in names if n not in map(quoted, table.key)]
        instead = f"UPDATE SET {', '.join(new)}" if new else "NOTHING"
        key = ", ".join(map(quoted, table.key))
        into = f"INSERT INTO {quoted(physical)} ({', '.join(names)}) VALUES ({places})"
        return f"{into} ON CONFLICT ({key}) DO {instead}"


POSTGRES: Final = PostgresDialect()


def dialect_of(keeper: TableKeeper) -> Dialect:
    """How the database of a keeper says it."""
    return POSTGRES if getattr(keeper, "sql", "sqlite") == "postgresql" else SQLITE


def _type_of(column: Column) -> str:
    return "boolean" if _is_bit(column) else _TYPES[column.sql]


def _is_bit(column: Column) -> bool:
    return column.decode is bool
