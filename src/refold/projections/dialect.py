"""What one SQL database says otherwise than the next, in one place; today it is SQLite.

The rest of the package keeps to SQL that any takes: ``SELECT``, ``INSERT``, ``UPDATE``, ``DELETE``,
plain views, ``?`` where a value goes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from typing import Any, Final, TypeVar

import msgspec

from refold.errors import UsageError
from refold.ports import SqlValue
from refold.projections.table import Table, Values

TOKENS: Final = ("unicode61", "remove_diacritics", "2")
"""The tokenizer of SQLite's by which text is words: whatever their case and accents."""
R = TypeVar("R", bound=msgspec.Struct)
_PLACEHOLDER: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class Dialect:
    """SQL as SQLite has it.

    ``exists`` finds a table or view by name. ``functions`` are those that a view calls by a name of
    ours, such as ``{if_null}``.
    """

    exists: str = "SELECT 1 FROM sqlite_schema WHERE name = ?"
    functions: Mapping[str, str] = {
        "how_many": "sum",
        "if_null": "ifnull",
        "json_object_of": "json_group_object",
    }

    def catalog(self) -> list[str]:
        """The statements that make the tables of the catalog where they are missing."""
        text = (resources.files("refold.projections") / "catalog.sqlite.sql").read_text()
        return text.split(";")[:-1]

    def create(self, table: Table[Any], physical: str) -> list[str]:
        """The statements that make a table and its indexes under a name of its own."""
        if table.words:
            return [_full_text(table, physical)]
        columns = [
            f"{quoted(c.name)} {c.sql}{'' if c.nullable else ' NOT NULL'}" for c in table.columns
        ]
        key = ", ".join(map(quoted, table.key))
        made = (
            f"CREATE TABLE {quoted(physical)} ({', '.join(columns)}, PRIMARY KEY ({key})) "
            "STRICT, WITHOUT ROWID"
        )
        indexes = [
            f"CREATE INDEX {quoted('_'.join((physical, *index)))} ON {quoted(physical)} "
            f"({', '.join(map(quoted, index))})"
            for index in table.indexes
        ]
        return [made, *indexes]

    def columns(self, table: Table[Any]) -> str:
        """What is selected of a row; of words nothing comes back."""
        return ", ".join(columns_of(table))

    def select(self, table: Table[Any], physical: str) -> str:
        """The query for the row of a key."""
        return f"SELECT {self.columns(table)} FROM {quoted(physical)} WHERE {_of_key(table)}"

    def values(self, table: Table[R], row: R) -> Values:
        """A row as SQL takes it."""
        return table.values(row)

    def saying(self, words: Sequence[str]) -> tuple[str, Sequence[SqlValue]]:
        """What holds of a row whose ``text``, a column of words, says all of these, with values.

        In FTS5's language each is quoted, so that none is a sign or an operator of it. A NUL would
        end the query there; to the tokenizer it stands between words, as a space does.
        """
        quotes = (word.replace('"', '""').replace("\0", " ") for word in words)
        return "text MATCH ?", [" ".join(f'"{word}"' for word in quotes)]

    def put(self, table: Table[Any], physical: str) -> str:
        """The statement that puts a row, in place of the one with its key."""
        columns = ", ".join(columns_of(table))
        places = ", ".join("?" * len(table.columns))
        return f"REPLACE INTO {quoted(physical)} ({columns}) VALUES ({places})"

    def delete(self, table: Table[Any], physical: str) -> str:
        """The statement that takes the row of a key away."""
        return f"DELETE FROM {quoted(physical)} WHERE {_of_key(table)}"

    def view(self, sql: str, tables: Collection[str]) -> str:
        """A view as a projection says it, its functions called what they are called here."""

        def function(found: re.Match[str]) -> str:
            return found[0] if found[1] in tables else self.functions.get(found[1], found[0])

        return _PLACEHOLDER.sub(function, sql)


SQLITE: Final = Dialect()


def quoted(name: str) -> str:
    """A name as SQL takes any."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def physical_name(table: str, generation: int) -> str:
    """What a table is called in one generation of its projection: ``tool_calls@2``."""
    return f"{table}@{generation}"


def named(sql: str, names: Mapping[str, str]) -> str:
    """SQL with ``{table}`` replaced by what the table is called."""

    def physical(found: re.Match[str]) -> str:
        if found[1] not in names:
            raise UsageError(f"{{{found[1]}}} is no table of this projection: {', '.join(names)}")
        return quoted(names[found[1]])

    return _PLACEHOLDER.sub(physical, sql)


def _full_text(table: Table[Any], physical: str) -> str:
    """The statement for a table of words, which keeps no text (https://sqlite.org/fts5.html)."""
    columns = [
        f"{quoted(c.name)}{'' if c.name in table.words else ' UNINDEXED'}"
        for c in table.columns
        if c.name not in table.key
    ]
    kept = "content = '', contentless_delete = 1, contentless_unindexed = 1"
    how = f"{kept}, tokenize = '{' '.join(TOKENS)}'"
    return f"CREATE VIRTUAL TABLE {quoted(physical)} USING fts5({', '.join(columns)}, {how})"


def columns_of(table: Table[Any]) -> list[str]:
    """The names of a table's columns, as SQL takes them."""
    return [quoted(column.name) for column in table.columns]


def _of_key(table: Table[Any]) -> str:
    return " AND ".join(f"{quoted(column)} = ?" for column in table.key)
