"""Tables of projections beside the log, and queries over all of it.

Statements come with ``?`` where a value goes, as SQLite has them; ``$1`` is PostgreSQL's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import lru_cache, partial
from itertools import count
from typing import Any, Final, TypeVar

import psycopg

from refold.backends.postgres.errors import is_lost, read_only, refused
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

    Whoever writes tables takes turns. A statement that is refused undoes itself alone. A server
    that goes away is named where it is to be ``shown``: nobody takes it for a handler's fault.
    """

    def __init__(self, session: ServerSession, tenant: int, shown: str | None = None) -> None:
        self._session, self._shown = session, shown
        self._has_made = False
        session.run("begin_tables", tenant)

    def execute(self, sql: str, values: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""
        self._has_made |= sql.startswith("CREATE")
        with refused(sql, self._shown), self._session.transaction():
            cursor = self._session.execute(numbered(sql), values, binary=False)
            return cursor.fetchall() if cursor.description else []

    def end(self) -> None:
        """Commit; who may read the log may then read what was made."""
        if self._has_made:
            self._session.run("guard_tables")
        try:
            self._session.execute("COMMIT")
        except psycopg.Error as error:
            if is_lost(error):
                why = f"the connection was lost while tables were stored ({str(error).strip()})"
                raise OutcomeUnknown(f"{why}: look how far they have come, go on there") from error
            raise

    def executemany(self, sql: str, values: Iterable[Sequence[SqlValue]]) -> None:
        """Run one statement for each of many values."""
        session = self._session
        with refused(sql, self._shown), session.transaction(), session.cursor() as cursor:
            cursor.executemany(numbered(sql), values)


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
        """A transaction; at the end of a stack its session is let go."""
        with ExitStack() as own:
            session = own.enter_context(self._sessions.lent())
            session.execute(BEGIN)
            statements = TableStatements(session, self._tenant, shown)
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
        with refused(sql), session.pipeline():
            session.execute("BEGIN READ ONLY")
            path = f'"{self._sessions.address.room}", public'
            session.run("look", path, str(self._tenant), str(round(QUERY_S * 1_000)))
            cursor = session.execute(numbered(sql), values)
            found = SelectedRows(cursor.fetchall())
            found.columns = [column.name for column in cursor.description or ()]
        return found


@lru_cache(maxsize=1024)
def numbered(sql: str) -> str:
    """SQL with ``$1``, ``$2`` … for each ``?``."""
    places = count(1)
    return _PARTS.sub(lambda one: f"${next(places)}" if one[0] == "?" else one[0], sql)
