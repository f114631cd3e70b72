"""Small values in the database of a store, beside the rows of projections."""

from __future__ import annotations

from refold.engine.store import Store
from refold.errors import UsageError
from refold.ports import TableKeeper
from refold.projections.rows import Execute


def keeper_of(store: Store) -> TableKeeper:
    """What keeps the values of a store; UsageError where that kind of store cannot keep any."""
    keeper = store._backend
    if not isinstance(keeper, TableKeeper):
        raise UsageError("this kind of store keeps no tables: take a database")
    return keeper


def make_room(keeper: TableKeeper) -> None:
    """Make room for the values, where there is none yet."""
    made = "CREATE TABLE IF NOT EXISTS refold_kafka (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
    keeper.write(lambda begin: begin().execute(made))


def kept(execute: Execute, name: str) -> str | None:
    """The value under a name; None where there is none."""
    found = execute("SELECT value FROM refold_kafka WHERE name = ?", (name,))
    return found[0][0] if found else None


def keep(execute: Execute, name: str, value: str) -> None:
    """Keep a value, in the place of the one under its name."""
    execute("DELETE FROM refold_kafka WHERE name = ?", (name,))
    execute("INSERT INTO refold_kafka VALUES (?, ?)", (name, value))


def all_kept(store: Store, prefix: str) -> dict[str, str]:
    """The values under names that begin so, by what follows; changes nothing."""
    try:
        found = keeper_of(store).query("SELECT name, value FROM refold_kafka ORDER BY name")
    except UsageError:  # Nothing was ever kept.
        return {}
    return {name.removeprefix(prefix): text for name, text in found if name.startswith(prefix)}
