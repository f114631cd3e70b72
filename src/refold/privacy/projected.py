"""Rows that projections made of events, taken away: they are made anew of what the log says now."""

from __future__ import annotations

from functools import partial
from typing import Final

from refold.ports import Begin, TableKeeper
from refold.projections.catalog import Catalog, catalog_of
from refold.projections.dialect import SQLITE, physical_name, quoted
from refold.projections.postgres_dialect import dialect_of

_IS_VIRTUAL: Final = """
SELECT 1 FROM sqlite_schema WHERE name = ? AND sql LIKE 'CREATE VIRTUAL TABLE%'"""


def emptied(keeper: TableKeeper) -> list[str]:
    """Empty the tables of all projections of a database; their names.

    Each begins at the start of the log again when it runs next; who runs one now notices.
    """
    names = catalog_of(keeper).names()
    for name in names:
        keeper.write(partial(empty_projection, keeper=keeper, name=name))
    return names


def empty_projection(begin: Begin, keeper: TableKeeper, name: str) -> None:
    """Let every generation of a projection begin again, without a row."""
    catalog = Catalog(begin().execute, dialect_of(keeper))
    for number, generation in catalog.started(name).generations.items():
        for table in generation.tables:
            _empty_table(catalog, physical_name(table, number))
        for stream in catalog.parked(name, number):
            catalog.unpark(name, number, stream)
        catalog.move(name, number, 0, rate=generation.rate, now=generation.moved_at)


def _empty_table(catalog: Catalog, table: str) -> None:
    if catalog.dialect is not SQLITE:
        catalog.execute(f"TRUNCATE {quoted(table)}")  # A DELETE leaves the rows in its file,
    elif catalog.execute(_IS_VIRTUAL, (table,)):
        # and in an index of words these, until it happens to be merged.
        catalog.execute(f"INSERT INTO {quoted(table)} ({quoted(table)}) VALUES ('delete-all')")
    else:
        catalog.execute(f"DELETE FROM {quoted(table)}")
