"""The schema and its partitions: made, brought up to date, looked at."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Final, Literal

import psycopg

from refold.backends.postgres.address import Address
from refold.backends.postgres.session import ServerSession
from refold.backends.postgres.statements import FOLDER, qualified
from refold.core.clock import from_us
from refold.errors import NotFound, UsageError

Mode = Literal["create", "write", "read"]
SERVER_MIN: Final = 140_000
MONTHS_AHEAD: Final = 2
"""So many partitions stand ready beyond the month of an append."""

PREFIX: Final = "refold"
"""What the names of roles begin with, unless somebody says otherwise."""
MOVED_MAX: Final = 1_000
"""While the default partition holds more, an append makes none: it would hold all others up."""
_NOT_NOW: Final = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DuplicateTable,
    psycopg.errors.InsufficientPrivilege,
)
_NO_ROOM: Final = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)
"""A log can do without one, until projections are kept."""
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended('refold migrations', 0))"
_MIGRATIONS: Final = FOLDER / "migrations"


_GUARDED: Final = """\
DO $made$ BEGIN
IF NOT EXISTS (SELECT 1 FROM refold.migrations WHERE version = {number}) THEN
EXECUTE $migration$
{sql}$migration$;
INSERT INTO refold.migrations (version, fingerprint) VALUES ({number}, '{fingerprint}');
END IF;
END $made$;
"""


def prepare(session: ServerSession, address: Address, *, mode: Mode) -> None:
    """Make the schema where it is missing, or bring an older one up to date.

    Raises :class:`~refold.errors.UsageError` for a server or schema that cannot be used,
    :class:`~refold.errors.NotFound` where there is none and none is to be made.
    """
    ((server, encoding, has_schema, is_there),) = session.run("facts", f'"{address.schema}"')
    if server < SERVER_MIN:
        why = f"{address.shown} is PostgreSQL {server // 10_000}: refold needs 14 or newer"
        raise UsageError(why, code="old_server", url=address.shown)
    if encoding != "UTF8":
        why = f"{address.shown} keeps text as {encoding}: make a database with ENCODING 'UTF8'"
        raise UsageError(why, code="wrong_encoding", url=address.shown)
    version = _checked(session, address) if is_there else 0
    if version != schema_number():
        _bring_up(session, address, mode, version, has_schema)
    if mode == "create" and address.tenant:
        with suppress(*_NO_ROOM):
            session.run("make_room", address.tenant)


def _bring_up(
    session: ServerSession, address: Address, mode: Mode, version: int, has_schema: int
) -> None:
    if mode == "read" or (mode == "write" and not version):
        if not version:
            why = f"{address.shown} has no refold store: record or import something first"
            raise NotFound(why, url=address.shown)
        why = f"{address.shown} is of an older refold: open it for writing once"
        raise UsageError(why, code="older_schema", url=address.shown)
    _migrate(session, address, has_schema)


def _migrate(session: ServerSession, address: Address, has_schema: int) -> None:
    """Make what is missing; two openers take turns."""
    with session.transaction():
        session.execute(_LOCK)
        if not has_schema:  # Else who may make none would be refused, though it is there.
            session.execute(f'CREATE SCHEMA IF NOT EXISTS "{address.schema}"')
        session.run("make_migrations")
        version = _checked(session, address)
        session.run("as_owner")
        for number, sql in enumerate(migrations(), start=1):
            if number > version:
                run_script(session, qualified(sql + numbered(number), session.schema))
                session.run("migrated", number, fingerprint(sql))
        for (prefix,) in session.run("prefix_of_roles"):
            run_script(session, roles_script(session.schema, prefix))


def _checked(session: ServerSession, address: Address) -> int:
    """The version of a schema that this refold has made, or one before it made so far."""
    known, made = migrations(), dict(session.run("migrations_made"))
    version = max(made, default=0)
    if version > len(known):
        raise UsageError(
            f"{address.shown} was written by a newer refold (schema {version}, this one knows "
            f"{len(known)}): upgrade refold",
            code="newer_schema",
            url=address.shown,
        )
    for number, sql in enumerate(known[:version], start=1):
        if made.get(number) != fingerprint(sql):
            raise UsageError(
                f"{address.shown} was made by a refold in the making, whose schema ({number}) is "
                "not that of this one: `refold copy` it to a file with the refold that made it, "
                "and from there into a new schema with this one",
                code="other_schema",
                url=address.shown,
            )
    return int(version)


def schema_number() -> int:
    """That of the schema which this refold writes for."""
    return len(migrations())


def numbered(number: int) -> str:
    """What every migration ends with: who writes for another schema is refused from then on."""
    made = (
        "CREATE OR REPLACE FUNCTION refold.schema_number() RETURNS integer LANGUAGE sql IMMUTABLE"
    )
    return f"\n{made} PARALLEL SAFE RETURN {number};\n"


def guarded(number: int, sql: str) -> str:
    """A migration that does nothing where it was made, as one statement."""
    known = fingerprint(sql)
    return _GUARDED.format(number=number, sql=sql + numbered(number), fingerprint=known)


@cache
def fingerprint(sql: str) -> str:
    """What a migration is known by: the SHA-256 of its words, of which comments are none."""
    words = " ".join(re.sub("--.*", "", sql).split())
    return hashlib.sha256(words.encode()).hexdigest()


def run_script(session: ServerSession, script: str) -> None:
    """Run many statements at once, which a cursor can that sends no values apart."""
    psycopg.ClientCursor(session).execute(script.encode())


def roles_script(schema: str, prefix: str | None) -> str:
    """The SQL that gives the roles of a prefix, or of the usual one, what is theirs in a schema."""
    sql = (FOLDER / "roles.sql").read_text(encoding="utf-8")
    sql = sql.replace("{prefix}", prefix or PREFIX).replace("{meant}", str(prefix is not None))
    return qualified(sql, schema).replace("{schema}", schema)


def migrations() -> list[str]:
    """The SQL of every migration, in order."""
    entries = sorted(_MIGRATIONS.iterdir(), key=lambda entry: entry.name)
    return [entry.read_text(encoding="utf-8") for entry in entries if entry.name.endswith(".sql")]


def month_of(us: int) -> int:
    """The number of a month, counted from the year 0."""
    moment = from_us(us)
    return moment.year * 12 + moment.month - 1


def starts_at(month: int) -> int:
    """Where a month begins, in microseconds UTC."""
    begins = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return int(begins.timestamp()) * 1_000_000


def make_partitions(session: ServerSession, month: int) -> bool:
    """Make the partitions of a month and of those after it; whether all of them stand.

    One that cannot be made now is left for another time: its appends go to the default partition.
    """
    months = range(month, min(month + MONTHS_AHEAD, 9_999 * 12 + 11) + 1)
    with suppress(*_NOT_NOW):
        made = [session.run("make_partition", starts_at(one), MOVED_MAX) for one in months]
        return all(stands for ((stands,),) in made)
    return False
