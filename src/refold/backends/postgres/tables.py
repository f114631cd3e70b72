"""Tables of projections beside the log, and queries over all of it.

Statements come with ``?`` where a value goes, as SQLite has them; ``$1`` is PostgreSQL's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import lru_cache, partial
from typing import Any, Final, TypeVar

import psycopg

from refold.backends.postgres.errors import is_lost, naming_errors, read_only, refused
from refold.backends.postgres.session import ServerSession, Sessions, repeated
from refold.errors import OutcomeUnknown
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
        try:
            self._session.execute("COMMIT")
        except psycopg.Error as error:
            if not is_lost(error):
                raise
            why = f"the connection was lost while tables were stored ({str(error).strip()})"
            raise OutcomeUnknown(f"{why}: look how far they have come, and go on there") from error

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
        shown, begun = self._sessions.address.shown, list[TableStatements]()
        with self._turn(), ExitStack() as stack:

            def begin() -> TableStatements:
                if not begun:
                    # Nothing was done before it: where the server went away, it begins elsewhere.
                    begun.append(repeated(shown, partial(self._begun, stack, shown)))
                return begun[0]

            answer = work(begin)
            if begun:
                begun[0].end()
            return answer

    def _begun(self, stack: ExitStack, shown: str) -> TableStatements:
        """A transaction, undone at the end of a stack unless it was ended before."""
        with ExitStack() as own:
            session = own.enter_context(self._sessions.lent())
            own.callback(_undo, session)
            session.execute(BEGIN)
            statements = NamedStatements(session, self._tenant, shown=shown)
            stack.enter_context(own.pop_all())
            return statements

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


def _undo(session: ServerSession) -> None:
    if not session.closed and not session.is_idle:
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
