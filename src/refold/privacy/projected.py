"""Rows that projections made of events, taken away: they are made anew of what the log says now."""

from __future__ import annotations

from functools import partial

from refold.ports import Begin, TableKeeper
from refold.projections.catalog import Catalog, catalog_of
from refold.projections.dialect import physical_name, quoted
from refold.projections.postgres_dialect import dialect_of


def emptied(keeper: TableKeeper) -> list[str]:
    """Empty the tables of all projections of a database; their names.

    Each begins at the start of the log again when it runs next; who runs one now notices.
    """
    names = catalog_of(keeper).names()
    for name in names:
        keeper.write(partial(_empty, keeper=keeper, name=name))
    return names


def _empty(begin: Begin, keeper: TableKeeper, name: str) -> None:
    catalog = Catalog(begin().execute, dialect_of(keeper))
    for number, generation in catalog.started(name).generations.items():
        for table in generation.tables:
            catalog.execute(f"DELETE FROM {quoted(physical_name(table, number))}")
        for stream in catalog.parked(name, number):
            catalog.unpark(name, number, stream)
        catalog.move(name, number, 0, rate=generation.rate, now=generation.moved_at)
