"""What PostgreSQL says otherwise than SQLite, and which of the two keeps a projection's tables."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final, TypeVar

import apsw
import msgspec

from refold.errors import UsageError
from refold.ports import SqlValue, TableKeeper
from refold.projections.dialect import SQLITE, TOKENS, Dialect, columns_of, quoted
from refold.projections.table import Column, Table, Values

R = TypeVar("R", bound=msgspec.Struct)

NAME_BYTES_MAX: Final = 63
"""A longer name would be cut short (NAMEDATALEN), and could then be another's."""
WORD_CHARS_MAX: Final = 255
"""No more of a word stands in an index, which has room for 2,700 bytes."""
_SAYING: Final = """
string_to_array(text, ' ') @> regexp_split_to_array(?, '[ |]') AND NOT EXISTS (
    SELECT 1 FROM string_to_table(?, '|') AS phrase
    WHERE strpos(' ' || text || ' ', ' ' || phrase || ' ') = 0
)"""
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
        """See :class:`Dialect`; a table of words has an index of those of each column."""
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
        words = [
            f"CREATE INDEX ON {quoted(physical)} USING gin (string_to_array({quoted(one)}, ' '))"
            for one in table.words
        ]
        return [made, *indexes, *words]

    def columns(self, table: Table[Any]) -> str:
        """See :class:`Dialect`."""
        nothing = {quoted(name): f"NULL AS {quoted(name)}" for name in table.words}
        return ", ".join(nothing.get(one, one) for one in columns_of(table))

    def values(self, table: Table[R], row: R) -> Values:
        """See :class:`Dialect`; of text its words alone."""
        values = table.values(row)
        if not table.words:
            return values
        pairs = zip(table.columns, values, strict=True)
        return tuple(
            " ".join(words_in(value))
            if column.name in table.words and isinstance(value, str)
            else value
            for column, value in pairs
        )

    def saying(self, words: Sequence[str]) -> tuple[str, Sequence[SqlValue]]:
        """See :class:`Dialect`; the index finds the words, and they are looked for in a row."""
        phrases = "|".join(filter(None, (" ".join(words_in(word)) for word in words)))
        return _SAYING, [phrases, phrases]

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


class _Tokenizer(threading.local):
    """SQLite's own tokenizer, one for each thread: so the same words are found in both."""

    def __init__(self) -> None:
        name, *options = TOKENS
        self.of = apsw.Connection(":memory:").fts5_tokenizer(name, options)


_tokenizer: Final = _Tokenizer()


def words_in(text: str) -> list[str]:
    """The words of a text, as SQLite's full text has them; of a longer one its beginning."""
    words: Any = _tokenizer.of(  # Plain ones, where no offsets are asked for.
        text.encode(),
        apsw.FTS5_TOKENIZE_DOCUMENT,
        None,
        include_offsets=False,
        include_colocated=False,
    )
    return [word[:WORD_CHARS_MAX] for word in words]


def dialect_of(keeper: TableKeeper) -> Dialect:
    """How the database of a keeper says it."""
    return POSTGRES if getattr(keeper, "sql", "sqlite") == "postgresql" else SQLITE


def _type_of(column: Column) -> str:
    return "boolean" if _is_bit(column) else _TYPES[column.sql]


def _is_bit(column: Column) -> bool:
    return column.decode is bool
