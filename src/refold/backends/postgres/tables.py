"""Tables of projections beside the log, and queries over all of it.

Statements come with ``?`` where a value goes, as SQLite has them; ``$1`` is PostgreSQL's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

from refold.backends.postgres.errors import naming_errors, read_only, refused
from refold.backends.postgres.session import ServerSession, Sessions
from refold.ports import Begin, SelectedRows, SqlValue
from refold.process import ProcessLock

T = TypeVar("T")

QUERY_S: Final = 590.0
"""How long a query may take, unless the address or the server says: it ends there too."""
BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_PARTS: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|(\$\w*\$).*?\1|\?""", re.DOTALL
)
"""Texts, names and comments, in which a ``?`` is none."""
_READS: Final = re.compile(
    r"(\s|--[^\n]*(\n|$)|/\*.*?\*/|\()*(select|with|values|table|explain|show)\b",
    re.IGNORECASE | re.DOTALL,
)


class TableStatements:
    """The statements of one transaction; see :class:`~refold.ports.TableTransaction`.

    Whoever writes tables takes turns. A statement that is refused undoes itself alone.
    """

    def __init__(self, session: ServerSession, tenant: int) -> None:
        self._session = session
        self._has_made = False
        session.run("begin_tables", tenant)

    def execute(self, sql: str, values: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""
        self._has_made |= sql.startswith("CREATE")
        with refused(sql), self._session.transaction():
            cursor = self._session.execute(numbered(sql), values, binary=False)
            return cursor.fetchall() if cursor.description else []

    def end(self) -> None:
        """Commit; who may read the log may then read what was made."""
        if self._has_made:
            self._session.run("guard_tables")
        self._session.execute("COMMIT")

    def executemany(self, sql: str, values: Iterable[Sequence[SqlValue]]) -> None:
        """Run one statement for each of many values."""
        with refused(sql), self._session.transaction(), self._session.cursor() as cursor:
            cursor.executemany(numbered(sql), values)


class NamedStatements(TableStatements):
    """Names a server that goes away, so that nobody takes it for the fault of a handler."""

    def __init__(self, session: ServerSession, tenant: int, *, shown: str) -> None:
        super().__init__(session, tenant)
        self._shown = shown

    def execute(self, sql: str, values: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""
        with naming_errors(self._shown):
            return super().execute(sql, values)

    def executemany(self, sql: str, values: Iterable[Sequence[SqlValue]]) -> None:
        """Run one statement for each of many values."""
        with naming_errors(self._shown):
            super().executemany(sql, values)


class ServerTables:
    """Tables in the schema of a log; threads take turns."""

    def __init__(self, sessions: Sessions) -> None:
        self._turn = ProcessLock()
        self._sessions = sessions
        self._tenant = sessions.address.tenant

    def write(self, work: Callable[[Begin], T]) -> T:
        """See :meth:`~refold.ports.TableKeeper.write`."""
        with self._turn(), self._sessions.lent() as session:
            begun: list[TableStatements] = []

            def begin() -> TableStatements:
                if not begun:
                    session.execute(BEGIN)
                    shown = self._sessions.address.shown
                    begun.append(NamedStatements(session, self._tenant, shown=shown))
                return begun[0]

            try:
                answer = work(begin)
                if begun:
                    begun[0].end()
                return answer
            finally:
                if not session.closed and not session.is_idle:
                    session.rollback()

    def query(self, sql: str, values: Sequence[SqlValue] = ()) -> SelectedRows:
        """The rows of a query; whatever else it does is undone."""
        if not _READS.match(sql):
            raise read_only(sql)
        return self._sessions.retried(lambda session: self._queried(session, sql, values))

    def _queried(
        self, session: ServerSession, sql: str, values: Sequence[SqlValue]
    ) -> SelectedRows:
        found = SelectedRows()
        try:
            with refused(sql), session.pipeline():
                session.execute("BEGIN READ ONLY")
                limit_ms = str(round(QUERY_S * 1_000))
                path = f'"{self._sessions.address.room}", public'
                session.run("look", path, str(self._tenant), limit_ms)
                cursor = session.execute(numbered(sql), values)
                found += cursor.fetchall()
                found.columns = [column.name for column in cursor.description or ()]
            return found
        finally:
            if not session.closed:
                session.rollback()


@lru_cache(maxsize=1024)
def numbered(sql: str) -> str:
    """SQL with ``$1``, ``$2`` … for each ``?``."""
    count = 0

    def placed(found: re.Match[str]) -> str:
        nonlocal count
        if found[0] != "?":
            return found[0]
        count += 1
        return f"${count}"

    return _PARTS.sub(placed, sql)
