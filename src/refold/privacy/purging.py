"""Read models without what was erased: filled anew from the log, or emptied for who keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

from refold.engine.store import Store
from refold.errors import RefoldError
from refold.ports import Begin, Check, TableKeeper
from refold.privacy.stored import stored_backend
from refold.projections.catalog import Catalog, CatalogEntry, catalog_of
from refold.projections.dialect import SQLITE, physical_name, quoted
from refold.projections.postgres_dialect import dialect_of
from refold.projections.projection import Projection
from refold.projections.projector import Projector

_IS_VIRTUAL: Final = """
SELECT 1 FROM sqlite_schema WHERE name = ? AND sql LIKE 'CREATE VIRTUAL TABLE%'"""


def purge_read_models(store: Store, projections: Iterable[Projection] = ()) -> Iterator[Check]:
    """Take what the log does not hold any more out of the rows of projections beside it.

    Those that are given are filled anew, and shown when they have caught up; the rows of others,
    whose code is not here, are dropped: whoever keeps them fills them from the beginning when he
    runs next. One line each. Afterwards :meth:`~refold.ports.Eraser.scrub` has to take the old
    rows out of the storage.
    """
    keeper = stored_backend(store)
    if not isinstance(keeper, TableKeeper):
        return
    known = {one.name: one for one in projections}
    for name in catalog_of(keeper).names():
        try:
            if name in known:
                _filled_anew(store, known[name])
                yield Check(f"projection {name}", True, "filled anew from the log")
            else:
                keeper.write(partial(_emptied, keeper, name))
                told = "emptied: whoever keeps it fills it from the beginning when he runs next"
                yield Check(f"projection {name}", True, told)
        except RefoldError as error:
            yield Check(f"projection {name}", False, f"its rows may hold what went: {error}")


def _filled_anew(store: Store, projection: Projection) -> None:
    projector = Projector(store, [projection])
    projector.rebuild(projection.name)
    projector.confirm(projection.name)


def _emptied(keeper: TableKeeper, name: str, begin: Begin) -> None:
    """Let every generation of a projection begin again, without a row."""
    catalog = Catalog(begin().execute, dialect_of(keeper))
    entry: CatalogEntry = catalog.started(name)
    for number, generation in entry.generations.items():
        for table in generation.tables:
            _empty(catalog, physical_name(table, number))
        for stream in catalog.parked(name, number):
            catalog.unpark(name, number, stream)
        catalog.move(name, number, 0, rate=0.0, now=generation.moved_at)


def _empty(catalog: Catalog, table: str) -> None:
    if catalog.dialect is not SQLITE:
        catalog.execute(f"TRUNCATE {quoted(table)}")  # A DELETE leaves the rows in its file.
    elif catalog.execute(_IS_VIRTUAL, (table,)):
        catalog.execute(f"INSERT INTO {quoted(table)} ({quoted(table)}) VALUES ('delete-all')")
    else:
        catalog.execute(f"DELETE FROM {quoted(table)}")
