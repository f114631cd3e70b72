"""The months of the log: tables that are attached to it, made ahead, taken out and brought back.

A partition beside a default one cannot be detached CONCURRENTLY: it locks the log for a moment. So
that nobody waits for long, each try waits for others for a fifth of a second at most, and lets go.
What leaves is noted in the same transaction (``detached``), so a reader sees the one or the other:
a statement that was planned without a partition must not run when its month is back, so the log is
locked as a whole for that, too. Who changes months holds one lock, and another is told of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Any, Final

import msgspec
import psycopg

from refold.archive.month import DEFAULT, ArchivedAppend, Month, bounds_of
from refold.backends.postgres.errors import naming_errors
from refold.backends.postgres.schema import month_of, starts_at
from refold.backends.postgres.session import ServerSession, Sessions
from refold.backends.postgres.statements import statement
from refold.backends.postgres.tables import BEGIN
from refold.errors import Corrupt, Unavailable, UsageError

LOCK_MS: Final = 200
"""So long a change of the log waits for its readers and writers at a time: they wait behind it."""
TRIES_S: Final = 30.0
"""So long it is tried."""
PAUSE_S: Final = 0.3


@contextmanager
def patient(session: ServerSession) -> Iterator[ServerSession]:
    """A session that waits for an answer as long as it takes, in a block."""
    session.answer_s, usual_s = inf, session.answer_s
    try:
        yield session
    finally:
        session.answer_s = usual_s


class ServerMonths:
    """See :class:`~refold.archive.month.MonthKeeper`; ``check_writable`` refuses who only reads."""

    def __init__(self, sessions: Sessions, check_writable: Callable[[], None]) -> None:
        self._sessions, self._check_writable = sessions, check_writable

    def months(self) -> list[Month]:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._lent() as session:
            return list(_months(session, self._sessions.address.tenant))

    def make_months(self, count: int) -> list[str]:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._writing() as session:
            before = {row[0] for row in session.run("months", 0)}
            ((now,),) = session.run("server_now")
            ahead = [starts_at(month_of(now) + number) for number in range(count + 1)]
            for at in [*(at for (at,) in session.run("strays")), *ahead]:
                _briefly(session, partial(session.run, "make_partition", at, None))
            return [row[0] for row in session.run("months", 0) if row[0] not in before]

    def close_month(self, month: str) -> None:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._writing() as session:
            _close(session, month)

    def detach_month(self, month: str) -> None:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._writing() as session:
            _close(session, month)
            with self._changing(session):
                if _state(session, month) == "attached":
                    _briefly(session, partial(_take_out, session, month))

    def attach_month(self, month: str, archived: Iterable[ArchivedAppend]) -> None:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._writing() as session:
            if _state(session, month) == "dropped":
                _briefly(session, partial(session.run, "make_partition", bounds_of(month)[0], None))
                with self._changing(session):
                    if _state(session, month) == "dropped":
                        loaded = _load(session, archived)
                        _briefly(session, partial(_bring_back, session, month, loaded))
                return
            with self._changing(session):
                if _state(session, month) == "detached":
                    # Where the table says itself what is in it, nobody waits while it is looked at.
                    _briefly(session, partial(_run, session, "bound", month))
                    ((stands,),) = _run(session, "stands", month)
                    _briefly(session, partial(_bring_back, session, month, stands))
                    _briefly(session, partial(_run, session, "attach", month))

    def drop_month(self, month: str) -> None:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._writing() as session, self._changing(session):
            if _state(session, month) == "detached":
                _briefly(session, partial(_run, session, "drop", month))

    def month_appends(self, month: str) -> Generator[ArchivedAppend, None, None]:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._lent() as session:
            for row in session.cursor().stream(_of_month(session, "month_appends", month)):
                yield ArchivedAppend(*row)

    def note_archived(self, month: str, folder: str, manifest: str) -> None:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._writing() as session:
            session.run("note_archived", month, folder, manifest)

    @contextmanager
    def _lent(self) -> Iterator[ServerSession]:
        shown = self._sessions.address.shown
        with naming_errors(shown), self._sessions.lent() as session, patient(session):
            yield session

    @contextmanager
    def _changing(self, session: ServerSession) -> Iterator[None]:
        """A transaction that changes months, as no other does meanwhile."""
        with _transaction(session):
            if session.run("turn_of_months") != [(1,)]:
                where = self._sessions.address.shown
                why = f"another process is changing the months of {where}"
                raise Unavailable(f"{why}: try again when it is done", url=where)
            yield

    @contextmanager
    def _writing(self) -> Iterator[ServerSession]:
        self._check_writable()
        with self._lent() as session:
            yield session


def _months(session: ServerSession, tenant: int) -> Iterator[Month]:
    for month, state, size_bytes, folder, manifest, *holds in session.run("months", tenant):
        if month == DEFAULT:
            ((*holds,),) = session.run("default_holds")
        elif state == "attached":
            ((*holds,),) = _run(session, "month_holds", month, tenant)
        appends, events, first, last = holds
        place = month, state, appends or 0, events or 0, first, last
        yield Month(*place, size_bytes or 0, folder, manifest)


def _close(session: ServerSession, month: str) -> None:
    starts, ends = bounds_of(month)
    if session.run("is_over", ends) != [(1,)]:
        why = f"{month} is not over, or nothing was recorded since: events can still get into it"
        raise UsageError(f"{why}; name a month before it", code="month_open", month=month)
    if any(starts <= at < ends for (at,) in session.run("strays")):
        why = f"appends of {month} stand in the default partition"
        raise UsageError(f"{why}: `refold partitions create` moves them", month=month)
    session.run("close_month", month, starts, ends)
    # Whoever had stored a commit before it was closed ends first, of whatever tenant; whoever does
    # after that finds it closed.
    _briefly(session, partial(session.run, "lock_commits"))


def _take_out(session: ServerSession, month: str) -> None:
    """Note a month and detach it; nobody else has the log, so what is noted is what leaves."""
    session.run("lock_log")
    session.run("note_detached", month, *bounds_of(month))
    _run(session, "detach", month)


def _state(session: ServerSession, month: str) -> str | None:
    return next((row[1] for row in session.run("months", 0) if row[0] == month), None)


def _load(session: ServerSession, archived: Iterable[ArchivedAppend]) -> int:
    """Put into a partition what was archived of its month; how many appends."""
    rows = (msgspec.structs.astuple(one)[:-1] for one in archived)
    with session.cursor() as cursor:
        cursor.executemany(statement("load", session.schema), rows)
        return cursor.rowcount


def _bring_back(session: ServerSession, month: str, stands: int) -> None:
    """Forget that a month was out, where all of it is there, while nobody else looks at the log."""
    session.run("lock_log")
    ((due,),) = session.run("forget_detached", month)
    if stands != due:
        raise Corrupt(
            f"{due} appends of {month} left the log, and {stands} would come back: restore its "
            "archive or the table from a backup",
            month=month,
        )


def _run(session: ServerSession, name: str, month: str, *values: Any) -> psycopg.Cursor[Any]:
    return session.execute(_of_month(session, name, month), values)


def _of_month(session: ServerSession, name: str, month: str) -> str:
    """A statement of the table of a month, in which it and its bounds stand as text."""
    sql = statement(name, session.schema).replace("log_month", f"log_{month.replace('-', '_')}")
    starts, ends = bounds_of(month)
    return sql.replace("month_starts", str(starts)).replace("month_ends", str(ends))


@contextmanager
def _transaction(session: ServerSession) -> Iterator[None]:
    """A transaction at READ COMMITTED, undone by an error."""
    session.execute(BEGIN)
    try:
        yield
        session.execute("COMMIT")
    finally:
        if not session.closed and not session.is_idle:
            session.rollback()


def _briefly(session: ServerSession, work: Callable[[], object]) -> None:
    """Do what locks the log; again where others hold it, for whom it waits a moment at a time.

    After a while :class:`~refold.errors.Unavailable` says who they are.
    """
    until = time.monotonic() + TRIES_S
    while True:
        try:
            with session.transaction():
                session.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
                work()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if time.monotonic() > until:
                raise _held(session) from error
        else:
            return
        time.sleep(PAUSE_S)


def _held(session: ServerSession) -> Unavailable:
    """The error where others keep the log from being changed, and who they are."""
    holders = session.run("holders")
    told = ", ".join(f"{pid} ({name or 'no name'}, {state})" for pid, name, state in holders)
    why = f"the months stayed as they are: for {TRIES_S:.0f} s others held the log"
    if not holders:
        return Unavailable(f"{why}; try again")
    advice = f"wait for them, or end them with SELECT pg_terminate_backend({holders[0][0]})"
    return Unavailable(
        f"{why}, by their process: {told}; {advice}", pids=[one[0] for one in holders]
    )
