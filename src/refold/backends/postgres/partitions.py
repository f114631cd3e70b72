"""The months of the log: tables that are attached to it, made ahead, taken out and brought back.

A partition beside a default one cannot be detached CONCURRENTLY: it locks the log for a moment. So
that nobody waits for long, each try waits for others for a fifth of a second at most, and lets go.
What leaves is noted in the same transaction (``detached``), so a reader sees the one or the other:
a statement that was planned without a partition must not run when its month is back, so the log is
locked as a whole for that, too. Who changes months holds one lock, and another is told of it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
import psycopg

from refold.archive.month import (
    DEFAULT,
    ArchivedAppend,
    ArchivedRun,
    Month,
    MonthPlace,
    bounds_of,
)
from refold.backends.postgres.errors import naming_errors
from refold.backends.postgres.schema import month_of, starts_at
from refold.backends.postgres.session import ServerSession, Sessions
from refold.backends.postgres.statements import statement
from refold.backends.postgres.waits import briefly, patient, reading, transaction
from refold.errors import Corrupt, Unavailable, UsageError


class ServerMonths:
    """See :class:`~refold.archive.month.MonthKeeper`; ``check_writable`` refuses who only reads."""

    def __init__(self, sessions: Sessions, check_writable: Callable[[], None]) -> None:
        self._sessions, self._check_writable = sessions, check_writable

    def places(self) -> list[MonthPlace]:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._lent() as session:
            return _places(session)

    def months(self, *only: str) -> list[Month]:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._lent() as session:
            return list(_months(session, self._sessions.address.tenant, only))

    @contextmanager
    def changing(self) -> Iterator[None]:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._writing() as session, self._alone(session):
            # It does nothing but hold the lock meanwhile.
            session.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            yield

    def make_months(self, count: int) -> list[str]:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._writing() as session:
            before = {one.month for one in _places(session)}
            ((now,),) = session.run("server_now")
            ahead = [starts_at(month_of(now) + number) for number in range(count + 1)]
            with reading(session):
                strays = [at for (at,) in session.run("strays")]
            for at in [*strays, *ahead]:
                self._make(session, at)
            return [one.month for one in _places(session) if one.month not in before]

    def close_month(self, month: str) -> None:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._writing() as session:
            _close(session, month)

    def detach_month(self, month: str) -> None:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._writing() as session:
            _close(session, month)
            with self._alone(session):
                if _state(session, month) == "attached":
                    # To note it takes its time; nobody writes there any more.
                    briefly(session, partial(_run, session, "hold_month", month))
                    session.run("note_detached", month, *bounds_of(month))
                    taking = partial(_take_out, session, month)
                    briefly(session, taking, else_=_closed_only(month))

    def attach_month(self, month: str, archived: Iterable[ArchivedAppend]) -> None:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._writing() as session:
            if _state(session, month) == "dropped":
                self._make(session, bounds_of(month)[0])
                with self._alone(session):
                    if _state(session, month) == "dropped":
                        loaded = _load(session, archived)
                        briefly(session, partial(_bring_back, session, month, loaded))
                return
            with self._alone(session):
                if _stands(session, month, gone="dropped"):
                    # Where the table says itself what is in it, nobody waits while it is looked at.
                    briefly(session, partial(_run, session, "bound", month))
                    ((stands,),) = _run(session, "stands", month)
                    briefly(session, partial(_put_in, session, month, stands))

    def drop_month(self, month: str, archived: Sequence[ArchivedRun]) -> None:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._writing() as session, self._alone(session):
            if _stands(session, month, gone="attached"):
                briefly(session, partial(_run, session, "hold_month", month))
                _check_archived(session, month, archived)
                briefly(session, partial(_run, session, "drop", month))

    def month_appends(self, month: str) -> Generator[ArchivedAppend, None, None]:
        """See :class:`~refold.archive.month.MonthKeeper`."""
        with self._lent() as session, reading(session):
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
    def _alone(self, session: ServerSession) -> Iterator[None]:
        """A transaction that changes months, as no other does meanwhile."""
        with transaction(session):
            if session.run("turn_of_months") != [(1,)]:
                where, others = self._sessions.address.shown, session.run("has_turn")
                told = "".join(f" ({pid}, {name or 'no name'})" for pid, name in others)
                why = f"another process{told} is changing the months of {where}"
                advice = "try again when it is done"
                raise Unavailable(f"{why}: {advice}", url=where, pids=[pid for pid, _ in others])
            yield

    @contextmanager
    def _writing(self) -> Iterator[ServerSession]:
        self._check_writable()
        with self._lent() as session:
            yield session

    def _make(self, session: ServerSession, at: int) -> None:
        """Make the partition of a time unless it stands."""
        with self._alone(session):
            briefly(session, partial(session.run, "make_partition", at, None))


def _places(session: ServerSession) -> list[MonthPlace]:
    with reading(session):
        return [MonthPlace(*row[:5]) for row in session.run("months", 0)]


def _months(session: ServerSession, tenant: int, only: Sequence[str]) -> Iterator[Month]:
    with reading(session):
        found = session.run("months", tenant)
    for month, state, size_bytes, folder, manifest, *holds in found:
        if only and month not in only:
            continue
        if holds[0] is None and state == "attached":
            with reading(session):
                ((*holds,),) = _holds(session, month, tenant)
        appends, events, first, last = holds
        place = month, state, appends or 0, events or 0, first, last
        yield Month(*place, size_bytes, folder, manifest)


def _holds(session: ServerSession, month: str, tenant: int) -> list[tuple[Any, ...]]:
    if month == DEFAULT:
        return session.run("default_holds", tenant)
    return _run(session, "month_holds", month, tenant).fetchall()


def _close(session: ServerSession, month: str) -> None:
    """Let nothing be recorded in a month any more, and count what it holds."""
    briefly(session, partial(_mark_closed, session, month))
    # Whoever had stored a commit before it was closed ends first, of whatever tenant; whoever does
    # after that finds it closed.
    briefly(session, partial(session.run, "lock_commits"), else_=_closed_only(month))
    with reading(session):
        _run(session, "count_month", month, month)


def _closed_only(month: str) -> str:
    """What stands where a month that was closed could not be taken out."""
    return f"{month} stays in the log, closed: nothing is recorded in it or before it any more"


def _mark_closed(session: ServerSession, month: str) -> None:
    starts, ends = bounds_of(month)
    if session.run("is_over", ends) != [(1,)]:
        why = f"{month} is not over, or nothing was recorded since: events can still get into it"
        raise UsageError(f"{why}; name a month before it", code="month_open", month=month)
    if any(starts <= at < ends for (at,) in session.run("strays")):
        why = f"appends of {month} stand in the default partition"
        raise UsageError(f"{why}: `refold partitions create` moves them", month=month)
    session.run("close_month", month, starts, ends)


def _take_out(session: ServerSession, month: str) -> None:
    session.run("lock_log")
    _run(session, "detach", month)


def _state(session: ServerSession, month: str) -> str | None:
    return next((row[1] for row in session.run("months", 0) if row[0] == month), None)


def _stands(session: ServerSession, month: str, *, gone: str) -> bool:
    """Whether a month is detached, and not as a verb wants it already; refused where it is gone."""
    state = _state(session, month)
    if state == gone:
        why = f"another process has changed {month} meanwhile: it is {state}"
        raise Unavailable(f"{why}; look at the months, and try again", month=month)
    return state == "detached"


def _check_archived(session: ServerSession, month: str, archived: Sequence[ArchivedRun]) -> None:
    """Refuse to go on where an archive, or the table of a month, is not what left the log."""
    ((stands,),) = _run(session, "stands", month)
    left = [ArchivedRun(*row) for row in session.run("left", month)]
    if left == archived and stands == sum(one.appends for one in archived):
        return
    due, kept = (sum(one.appends for one in runs) for runs in (left, archived))
    raise Corrupt(
        f"{due} appends of {month} left the log, {stands} stand in its table and {kept} in its "
        "archive, or not the same: nothing was dropped; take what is missing from a backup",
        month=month,
    )


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


def _put_in(session: ServerSession, month: str, stands: int) -> None:
    """Attach the table of a month; what cannot be had of the log now is let go of as a whole."""
    _bring_back(session, month, stands)
    _run(session, "attach", month)


def _run(session: ServerSession, name: str, month: str, *values: Any) -> psycopg.Cursor[Any]:
    return session.execute(_of_month(session, name, month), values)


def _of_month(session: ServerSession, name: str, month: str) -> str:
    """A statement of the table of a month, in which it and its bounds stand as text."""
    sql = statement(name, session.schema).replace("log_month", f"log_{month.replace('-', '_')}")
    starts, ends = bounds_of(month)
    return sql.replace("month_starts", str(starts)).replace("month_ends", str(ends))
