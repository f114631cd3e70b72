"""Small values in the database of a store, beside the rows of projections."""

from __future__ import annotations

from typing import Final

from refold.engine.store import Store
from refold.errors import UsageError
from refold.ports import TableKeeper
from refold.projections.dialect import SQLITE
from refold.projections.rows import Execute

_TABLE: Final = "refold_kafka"


def keeper_of(store: Store, *, make: bool = True) -> TableKeeper:
    """What keeps the values of a store; room for them is made where there is none yet.

    Raises :class:`~refold.errors.UsageError` where that kind of store cannot keep any.
    """
    keeper = store._backend
    if not isinstance(keeper, TableKeeper):
        raise UsageError("this kind of store keeps no tables: take a database")
    made = f"CREATE TABLE IF NOT EXISTS {_TABLE} (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
    if make:
        keeper.write(lambda begin: begin().execute(made))
    return keeper


def kept(execute: Execute, name: str) -> str | None:
    """The value under a name; None where there is none."""
    found = execute(f"SELECT value FROM {_TABLE} WHERE name = ?", (name,))
    return found[0][0] if found else None


def keep(execute: Execute, name: str, value: str) -> None:
    """Keep a value, in the place of the one under its name."""
    execute(f"DELETE FROM {_TABLE} WHERE name = ?", (name,))
    execute(f"INSERT INTO {_TABLE} VALUES (?, ?)", (name, value))


def all_kept(store: Store, prefix: str) -> dict[str, str]:
    """The values under names that begin so, by what follows; changes nothing."""
    keeper = keeper_of(store, make=False)
    is_there = keeper.query(SQLITE.exists, (_TABLE,))
    found = keeper.query(f"SELECT name, value FROM {_TABLE} ORDER BY name") if is_there else []
    return {name.removeprefix(prefix): text for name, text in found if name.startswith(prefix)}
