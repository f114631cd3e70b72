"""The data keys of a store in its copy, wrapped as they are."""

from __future__ import annotations

from typing import Final

from refold.engine.store import Store
from refold.errors import UsageError
from refold.ports import Begin, TableKeeper
from refold.privacy.stored import has_keys, outlives, stored_backend
from refold.privacy.subject_keys import make_table

ROWS_PER_PAGE: Final = 1_000
_COLUMNS: Final = "key, subject, wrapped, tenant_key, created_at, destroyed_at"
_PAGE: Final = f"SELECT {_COLUMNS} FROM privacy_keys WHERE key > ? ORDER BY key LIMIT ?"
# One that was destroyed there stays so: the copy may be older than its source.
_PUT: Final = f"""
INSERT INTO privacy_keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET wrapped = excluded.wrapped, tenant_key = excluded.tenant_key,
    destroyed_at = excluded.destroyed_at
WHERE privacy_keys.destroyed_at IS NULL"""


def copy_keys(source: Store, into: Store) -> int:
    """Store the data keys of a store beside its copy; how many there are.

    They are wrapped by the same tenant keys: who opens the copy needs the same keyring. Keys of the
    copy that were destroyed stay so. :class:`~refold.errors.UsageError` where the copy can keep
    none.
    """
    here, there = stored_backend(source), stored_backend(into)
    if not isinstance(here, TableKeeper) or not has_keys(here):
        return 0
    if not isinstance(there, TableKeeper) or not outlives(there):
        raise UsageError("personal values are encrypted, and a journal keeps no keys: copy the "
                         "store into a database")  # fmt: skip
    sql = getattr(there, "sql", "sqlite")
    there.write(lambda begin: make_table(begin(), sql=sql))
    count, after = 0, ""
    while page := here.query(_PAGE, (after, ROWS_PER_PAGE)):

        def put(begin: Begin, rows: list[tuple[object, ...]] = page) -> None:
            begin().executemany(_PUT, rows)  # type: ignore[arg-type]

        there.write(put)
        count, after = count + len(page), page[-1][0]
    return count
