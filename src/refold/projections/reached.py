"""How far a log was seen to go by rows in another database, by which one that went back is known.

A log that went back with its server, or was restored, may have grown beyond the rows again: then it
holds something else where they stand. The append there is known by its time, to the microsecond;
rows beside the log went back with it.
"""

from __future__ import annotations

from typing import Final

from refold.errors import BackendError, log_went_back
from refold.ports import Backend, TableKeeper
from refold.projections.postgres_dialect import dialect_of
from refold.projections.rows import Execute

_MAKE: Final = (
    "CREATE TABLE IF NOT EXISTS refold_reached "
    "(name TEXT PRIMARY KEY, position BIGINT NOT NULL, recorded_at BIGINT NOT NULL)"
)
_FIND: Final = "SELECT recorded_at FROM refold_reached WHERE name = ? AND position = ?"


def check_reached(log: Backend, keeper: TableKeeper, name: str, position: int) -> None:
    """Raise :class:`~refold.errors.BackendError` where a log holds something else than it did.

    ``position`` is where the rows called ``name`` stand.
    """
    if not keeper.query(dialect_of(keeper).exists, ("refold_reached",)):
        keeper.write(lambda begin: begin().execute(_MAKE))
    known = [at for (at,) in keeper.query(_FIND, (name, position))]
    if known and _recorded_at(log, position) not in (*known, None):
        raise log_went_back(position, log.log_head())


def keep_reached(log: Backend, execute: Execute, name: str, position: int) -> None:
    """Keep, in the transaction of some rows, what the log holds where they stand now."""
    execute("DELETE FROM refold_reached WHERE name = ?", (name,))
    if (recorded_at := _recorded_at(log, position)) is not None:
        execute("INSERT INTO refold_reached VALUES (?, ?, ?)", (name, position, recorded_at))


def _recorded_at(log: Backend, position: int) -> int | None:
    """When the append of a position was recorded; None where that was taken out, with its month."""
    try:
        rows = log.log(after=position - 1, categories=None, types=None, rows_max=1)
    except BackendError as error:
        if error.code != "month_detached":
            raise
        return None
    times = [part.recorded_at for row in rows for part in row.parts() if part.position <= position]
    return times[-1] if times else None
