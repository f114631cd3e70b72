"""Opening a refold database: what it must be, and its schema version."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote

import apsw

from refold.backends.rest import Connection
from refold.backends.sqlite.errors import BUSY_WAIT_MS, naming_errors
from refold.backends.transaction import transacted
from refold.errors import Corrupt, NotFound, UsageError

APPLICATION_ID: Final = 0x7265666F
"""``refo`` in a file's header: this is a refold database."""
SCHEMA_VERSION: Final = 7
HEADER_BYTES: Final = 100
"""No database is shorter (https://www.sqlite.org/fileformat2.html, 1.3)."""
_TO_WAL: Final = "PRAGMA journal_mode=WAL"
_SWITCH_EVERY_MS: Final = 10

Mode = Literal["create", "write", "read"]
"""``create``: make the file when it is missing; ``write``: it must exist; ``read``: never write."""

_FLAGS: Final[dict[Mode, int]] = {
    "create": apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE,
    "write": apsw.SQLITE_OPEN_READWRITE,
    "read": apsw.SQLITE_OPEN_READONLY,
}
_IDENTITY: Final = """
SELECT application_id, user_version, (SELECT count(*) FROM sqlite_schema)
FROM pragma_application_id, pragma_user_version"""
_MIGRATIONS: Final = resources.files("refold.backends.sqlite") / "migrations"


def connect(
    path: Path,
    mode: Mode,
    synchronous: str = "FULL",
    vfs: str | None = None,
    *,
    alone: bool = False,
) -> apsw.Connection:
    """A connection set up for the log; the file's schema is not looked at.

    ``alone``: read the file by itself, as it is. Nobody may write to it meanwhile.
    """
    with naming_errors(path):
        name, flags = str(path), _FLAGS[mode]
        if alone:
            name = f"file:{quote(str(path.absolute()))}?immutable=1"
            flags |= apsw.SQLITE_OPEN_URI
        connection = Connection(name, flags=flags, vfs=vfs, statementcachesize=64)
        try:
            connection.set_busy_timeout(BUSY_WAIT_MS)
            connection.execute(f"PRAGMA synchronous={synchronous}").fetchall()
            connection.pragma("user_version")  # From the first read on it holds the WAL.
        except BaseException:
            close_quietly(connection)
            raise
        return connection


def close_quietly(connection: apsw.Connection) -> None:
    """Close after a failure, which is what the caller is to hear of."""
    with suppress(apsw.Error):
        connection.close()


def prepare(connection: apsw.Connection, path: Path, *, mode: Mode) -> None:
    """Refuse what is not a refold database; bring an older schema up to date."""
    with naming_errors(path):
        version = _checked_version(connection, path)
        if version == SCHEMA_VERSION:
            return
        if mode == "read":
            raise UsageError(
                f"{path} is empty or of an older refold: open it for writing once", path=str(path)
            )
        with synced(connection):  # A file that is half made is no database.
            _make_current(connection, path, is_new=version == 0)


def _make_current(connection: apsw.Connection, path: Path, *, is_new: bool) -> None:
    if is_new:
        # Lets a compaction give pages back to the file system.
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL").fetchall()
    _switch_to_wal(connection)
    transacted(connection, _migrate, connection, path)  # two openers take turns


def _migrate(connection: apsw.Connection, path: Path) -> None:
    version = _checked_version(connection, path)
    try:
        for number in range(version + 1, SCHEMA_VERSION + 1):
            connection.execute(migration(number)).fetchall()
    except apsw.SQLError as error:
        says = f"says that its schema is {version}, and yet: {error}"
        way_out = f"undo it with PRAGMA user_version={SCHEMA_VERSION}, then run `refold doctor`"
        reason = f"{path} {says}; was its user_version changed? {way_out}"
        raise Corrupt(reason, path=str(path)) from error
    connection.execute(f"PRAGMA application_id={APPLICATION_ID}").fetchall()
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}").fetchall()


def _switch_to_wal(connection: apsw.Connection) -> None:
    """SQLite does not wait for another opener here, whatever the busy timeout says."""
    for _ in range(BUSY_WAIT_MS // _SWITCH_EVERY_MS):
        with suppress(apsw.BusyError):
            connection.execute(_TO_WAL).fetchall()
            return
        time.sleep(_SWITCH_EVERY_MS / 1_000)
    connection.execute(_TO_WAL).fetchall()


def check_path(path: Path, *, mode: Mode) -> None:
    """Refuse a path that cannot be a database, with the reason."""
    if "\0" in str(path) or str(path) == ":memory:":
        raise UsageError(f"{str(path)!r} is no file (a log in memory is memory:)", path=str(path))
    try:
        missing_folder = not path.parent.is_dir()
        folder = path.is_dir()
        found = path.stat() if path.exists() else None
    except OSError as error:
        raise UsageError(f"{path} cannot be reached: {error.strerror}", path=str(path)) from error
    if folder:
        raise UsageError(f"{path} is a directory: give the path of a file in it", path=str(path))
    if found and 0 < found.st_size < HEADER_BYTES:
        # SQLite takes a file of one byte for an empty one, and would write over it.
        raise UsageError(f"{path} is not a refold database", code="not_a_database", path=str(path))
    if found and found.st_nlink > 1:  # https://www.sqlite.org/howtocorrupt.html, 2.5
        why = f"{path} has {found.st_nlink} names, and SQLite would keep a WAL for each: appends"
        advice = "would be lost. Copy the file, or remove its other names (hard links)"
        raise UsageError(f"{why} {advice}", code="hard_links", path=str(path))
    if not found and mode != "create":
        raise NotFound(f"{path} does not exist: record or import something first", path=str(path))
    if missing_folder:
        raise UsageError(f"the folder {path.parent} does not exist", path=str(path))


def rows_of(connection: apsw.Connection, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """All the rows of a query."""
    return connection.execute(sql, values).fetchall()


def shaped(rows: list[tuple[Any, ...]], *types: Any) -> list[tuple[Any, ...]]:
    """The rows, whose values must be of these types: SQLite gives what a damaged row says."""
    for row in rows:
        if not all(map(isinstance, row, types)):
            raise Corrupt(f"a row is not as it was written: {row!r:.99}; run `refold doctor`")
    return rows


def mark_of(connection: apsw.Connection) -> int:
    """A number that another replacement of events, or of the schema, makes another."""
    return int(connection.pragma("schema_version"))


@contextmanager
def synced(connection: apsw.Connection) -> Iterator[None]:
    """Sync what is committed within, whatever the connection does else."""
    level = connection.pragma("synchronous")
    connection.pragma("synchronous", "FULL")
    try:
        yield
    finally:
        connection.pragma("synchronous", level)


def _checked_version(connection: apsw.Connection, path: Path) -> int:
    # One statement, one snapshot: another process may be making the file.
    ((application_id, version, tables),) = rows_of(connection, _IDENTITY)
    if application_id != APPLICATION_ID and (application_id or version or tables):
        raise UsageError(
            f"{path} is a SQLite database of another program, not a refold database",
            code="not_a_database",
            path=str(path),
        )
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path} was written by a newer refold (schema {version}, this one knows "
            f"{SCHEMA_VERSION}): upgrade refold",
            code="newer_schema",
            path=str(path),
        )
    return int(version)


def migration(number: int) -> str:
    """The SQL that makes a schema of the one before it."""
    for entry in _MIGRATIONS.iterdir():
        if entry.name.startswith(f"{number:04d}_"):
            return entry.read_text(encoding="utf-8")
    raise UsageError(f"the migration to schema {number} is missing: reinstall refold")
