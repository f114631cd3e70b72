"""Tables of a SQLite file or of a PostgreSQL database: read row by row, never written.

PostgreSQL needs the extra: ``pip install 'refold[postgres]'``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, quote, unquote

import apsw

from refold.errors import RefoldError, Unavailable, UsageError
from refold.extras import needs
from refold.secrecy import is_secret

Row = dict[str, Any]

ROWS_AT_ONCE: Final = 1_000
"""How many rows are fetched from PostgreSQL at a time."""
CONNECT_S: Final = 30
_AWAY: Final = ("08", "57", "53", "58", "40", "55P03")
"""The SQLSTATEs of a server that is gone or busy: the same may succeed later."""
_REFUSED: Final = re.compile(
    r"FATAL: (?!.*(starting up|shutting down|recovery|too many|remaining connection))"
    r"|no password supplied|does not support SSL|invalid |certificate|private key"
)
"""What is said, without an SQLSTATE, of a connection that is refused another time too."""
_SQLITE_AWAY: Final = (apsw.BusyError, apsw.LockedError, apsw.IOError, apsw.CantOpenError)
_URL: Final = re.compile(
    r"postgres(?:ql)?://(?:(?P<user>[^:@/?]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<place>[^@?]*)(?:\?(?P<options>[^@]*))?"
)
_DSN: Final = re.compile(r"(?:^|\s)(?:host|hostaddr|port|user|password|dbname|service)\s*=")
_AS_VALUES: Final = ("int2", "int4", "int8", "float4", "float8", "numeric", "bool", "bytea")
"""What is read as a number, a bool or bytes; of all else, JSON and times too, the text."""
# So that a row reads the same whoever reads it, and wherever.
_SETTINGS: Final = """
SET LOCAL TimeZone TO 'UTC'; SET LOCAL DateStyle TO 'ISO'; SET LOCAL IntervalStyle TO 'iso_8601';
SET LOCAL extra_float_digits TO 3"""
_TABLES: Final = """
SELECT schemaname || '.' || tablename FROM pg_catalog.pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"""
_COLUMNS: Final = """
SELECT attname, format_type(atttypid, NULL) IN ('json', 'jsonb') FROM pg_catalog.pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""


class TableSource(Protocol):
    """A database, by the ``name`` that it is told by, which holds no password.

    Each method raises :class:`~refold.errors.UsageError` where the database cannot be read, and
    :class:`~refold.errors.Unavailable` where it is away or busy.
    """

    name: str

    def tables(self) -> list[str]:
        """The tables there are."""

    def columns(self, table: str) -> Mapping[str, bool]:
        """The columns of a table, and whether each is declared to hold JSON; {} for no table."""

    def rows(self, table: str, columns: Sequence[str], order: Sequence[str]) -> Iterator[Row]:
        """The rows of a table, in the order of two columns, of the first by its characters.

        Whole numbers are int, others float or Decimal, blobs bytes; all else is text or None.
        """

    def has_number(self, table: str, column: str, text: str) -> bool:
        """Whether a row has the number itself where another has it as text."""


@contextmanager
def opened(place: str) -> Iterator[TableSource]:
    """A SQLite file by its path, PostgreSQL by its URL; UsageError for what is neither.

    Unavailable where it is away, busy, or cannot be opened now.
    """
    kind, is_url, _ = place.partition("://")
    if not is_url and _DSN.search(place) and not Path(place).is_file():
        raise UsageError(
            "PostgreSQL is named by a URL, postgresql://USER@HOST:PORT/DATABASE, not by words "
            "such as host=…; the password may be in PGPASSWORD"
        )
    if kind.startswith("postgresql+"):
        raise UsageError(f"write postgresql:// for {kind}://")
    if is_url and kind not in ("postgresql", "postgres"):
        raise UsageError(
            f"a table is read from a SQLite file or from PostgreSQL, not from {kind}: write its "
            "rows to `refold append` as JSON lines"
        )
    source = PostgresTables(place) if is_url else SqliteTables(place)
    with closing(source.db):
        yield source


class SqliteTables:
    """The tables of a SQLite file."""

    def __init__(self, path: str) -> None:
        if not Path(path).is_file():
            raise UsageError(f"there is no file {path}", path=path)
        self.name = path
        where = f"file:{quote(str(Path(path).resolve()))}?mode=ro"
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        with self._told():
            self.db = apsw.Connection(where, flags=flags)

    def tables(self) -> list[str]:
        """As :meth:`TableSource.tables`."""
        return [name for (name,) in self._all("SELECT name FROM sqlite_schema WHERE type='table'")]

    def columns(self, table: str) -> Mapping[str, bool]:
        """As :meth:`TableSource.columns`: no type here says what a column holds."""
        # Hidden are those of virtual tables alone; those that are computed may hold the data.
        found = self._all("SELECT name FROM pragma_table_xinfo(?) WHERE hidden <> 1", table)
        return {name: False for (name,) in found}

    def rows(self, table: str, columns: Sequence[str], order: Sequence[str]) -> Iterator[Row]:
        """As :meth:`TableSource.rows`."""
        first, second = map(_quoted, order)
        told = ", ".join(map(_quoted, columns))
        sql = f"SELECT {told} FROM {_quoted(table)} ORDER BY {first} COLLATE BINARY, {second}"
        return (dict(zip(columns, row, strict=True)) for row in self._all(sql))

    def has_number(self, table: str, column: str, text: str) -> bool:
        """As :meth:`TableSource.has_number`: rows of one column may be of several types."""
        name = _quoted(column)
        sql = (
            f"SELECT 1 FROM {_quoted(table)} WHERE typeof({name}) = 'integer' AND {name} || '' = ?"
        )
        return any(self._all(f"{sql} LIMIT 1", text))

    def _all(self, sql: str, *values: str) -> Iterator[tuple[Any, ...]]:
        with self._told():
            yield from self.db.execute(sql, values)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what SQLite refuses as our error."""
        try:
            yield
        except _SQLITE_AWAY as error:
            why = f"{self.name} cannot be read now: {error}; import again later: what came stays"
            raise Unavailable(why) from error
        except apsw.Error as error:
            why = f"{self.name} is no SQLite file that can be read: {error}"
            raise UsageError(why) from error


class PostgresTables:
    """The tables of a PostgreSQL database, as they are at the first look at them."""

    def __init__(self, url: str) -> None:
        self.name, self._secrets = _without_password(url)
        try:
            import psycopg
            from psycopg.types.string import TextLoader
        except ImportError as error:
            said = needs("a table of PostgreSQL is read by psycopg", "postgres")
            raise UsageError(said) from error
        self._errors, self._sql = (psycopg.Error, UnicodeDecodeError), psycopg.sql
        self._lost = (psycopg.OperationalError, psycopg.InterfaceError)
        with self._told():
            self.db = psycopg.connect(url, connect_timeout=CONNECT_S, client_encoding="utf8")
        # One transaction for all: what is written meanwhile is not seen.
        self.db.read_only = True
        self.db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for kind in psycopg.adapters.types:
            for oid in (
                {kind.oid, kind.array_oid} if kind.name not in _AS_VALUES else {kind.array_oid}
            ):
                self.db.adapters.register_loader(oid, TextLoader)

    def tables(self) -> list[str]:
        """As :meth:`TableSource.tables`, with their schemas."""
        with self._told():
            return [name for (name,) in self.db.execute(_TABLES)]

    def columns(self, table: str) -> Mapping[str, bool]:
        """As :meth:`TableSource.columns`; those of the types json and jsonb hold JSON."""
        with self._told():
            return dict(self.db.execute(_COLUMNS, [self._identifier(table).as_string(self.db)]))

    def rows(self, table: str, columns: Sequence[str], order: Sequence[str]) -> Iterator[Row]:
        """As :meth:`TableSource.rows`, as many at a time as :data:`ROWS_AT_ONCE`."""
        named = self._sql.Identifier
        query = self._sql.SQL('SELECT {} FROM {} ORDER BY {}::text COLLATE "C", {}').format(
            self._sql.SQL(", ").join(map(named, columns)),
            self._identifier(table),
            *map(named, order),
        )
        with self._told(), self.db.cursor(name="refold_import") as cursor:
            self.db.execute(_SETTINGS)
            cursor.itersize = ROWS_AT_ONCE
            for row in cursor.execute(query):
                yield dict(zip(columns, row, strict=True))

    def has_number(self, table: str, column: str, text: str) -> bool:
        """As :meth:`TableSource.has_number`: a column has one type."""
        del table, column, text
        return False

    def _identifier(self, table: str) -> Any:
        """A table's name, which may have its schema before it and a dot."""
        return self._sql.Identifier(*table.split(".", 1))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell what the driver refuses as our error, without what is secret in the URL."""
        try:
            yield
        except self._errors as error:
            said = " ".join(str(error).split())
            for secret in self._secrets:
                said = said.replace(secret, "***")
            raise self._refusal(getattr(error, "sqlstate", None), error, said) from None

    def _refusal(self, code: str | None, error: Exception, said: str) -> RefoldError:
        is_cut = isinstance(error, self._lost) and code is None and not _REFUSED.search(said)
        if is_cut or (code or "").startswith(_AWAY):
            why = f"{self.name} cannot be reached now: {said}; import again later: what came stays"
            return Unavailable(why)
        return UsageError(f"{self.name} cannot be read: {said}")


def _without_password(url: str) -> tuple[str, list[str]]:
    """A URL without what is secret in it, and its secrets in both their forms.

    UsageError for a URL that may be read in two ways: half a password would pass for a host, and
    be told.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise UsageError(
            "the URL is not understood: it is postgresql://USER:PASSWORD@HOST:PORT/DATABASE, in "
            "the password %40 for @ and %2F for /; the password may be in PGPASSWORD instead"
        )
    # In this URL, as its driver reads it, a + is no blank.
    options = parse_qsl((found["options"] or "").replace("+", "%2B"))
    secrets = [found["password"] or "", *(value for key, value in options if is_secret(key))]
    user = f"{found['user']}@" if found["user"] else ""
    forms = {form for one in secrets for form in (one, unquote(one), quote(one, safe=""))}
    return f"postgresql://{user}{found['place']}", sorted(forms - {""}, key=len, reverse=True)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
