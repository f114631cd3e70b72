"""Stores of each kind, empty, for tests that hold on all of them."""

from pathlib import Path
from typing import Final

from tests.support import pgbouncer, postgres

KINDS: Final = ("memory:", "log.db", "postgresql:", "pgbouncer:")


def url_of(kind: str, folder: Path) -> str:
    """The address of a store of a kind that is yet to be made.

    ``memory`` and ``memory:``; ``postgres`` and ``postgresql:``, a log among others in a schema;
    ``pgbouncer:`` the same through a pooler in transaction mode; else the name of a file in a
    folder, ``sqlite`` for any.
    """
    match kind:
        case "memory" | "memory:":
            return "memory:"
        case "postgres" | "postgresql:":
            return postgres.log_of_its_own()
        case "pgbouncer:":
            return pgbouncer.log_of_its_own()
    return str(folder / ("log.db" if kind == "sqlite" else kind))
