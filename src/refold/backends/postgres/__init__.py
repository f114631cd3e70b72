"""A log in PostgreSQL, for several machines; it needs the extra ``postgres``."""

from refold.errors import UsageError
from refold.extras import needs

try:
    from refold.backends.postgres.backend import PostgresBackend
    from refold.backends.postgres.setup import PostgresSetup
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "psycopg":
        raise
    raise UsageError(needs("a store in PostgreSQL needs psycopg", "postgres")) from error

__all__ = ["PostgresBackend", "PostgresSetup"]
