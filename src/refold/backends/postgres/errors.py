"""What PostgreSQL refuses, as refold errors: which store, what happened, what to do.

By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from refold.errors import BackendError, Corrupt, InvalidEvent, RefoldError, Unavailable, UsageError

_LOST: Final = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "53300")
"""The connection is gone, or the server does not take one now."""
RACED: Final = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected)
_AGAIN: Final = ("40001", "40P01")
"""A serialization failure, a deadlock: the same may succeed at once."""
_READ_ONLY: Final = ("25006",)
"""Another server may take writes, or this one soon: a standby that is about to take over."""
_NOT_AS_MADE: Final = ("42", "3F", "22P02", "22003", "23", "XX001", "XX002")
"""What refold's own statements meet only where tables are not as refold made them, or damaged."""
_DETACHED: Final = ("RF001",)
_CLOSED: Final = ("RF002",)
_OTHER_SCHEMA: Final = ("RF003",)
"""What refold's own functions raise: of a month that was taken out of the log, or is closed; to who
writes for another schema than the one that is there."""
_CALLERS_FAULT: Final = ("22", "23", "42", "0A", "54", "2201", "25001", "3F", "P0")
_WRONG: Final = (psycopg.ProgrammingError, psycopg.DataError)
"""What psycopg refuses by itself, such as a number of values that is not that of the places."""
_REFUSED: Final = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|permission denied"
    r"|(role|database) \".*\" (does not exist|is not permitted|is not currently accepting)"
    r"|server does not support SSL|unsupported startup parameter|no such (user|database)"
)
"""What the other end says of a connection that it will not take another time either. No SQLSTATE
comes with it, and other languages than this are taken for a server that is away."""
_WAYS_OUT: Final = {
    'database ".*" does not exist': "mend its name in the address, or make it with createdb",
    'role ".*" does not exist': "mend the user in the address, or CREATE ROLE … LOGIN",
    "authentication failed|no password supplied": "mend the user or the password in the address "
    "(PGPASSWORD or ~/.pgpass give one too)",
    "permission denied": "GRANT its role the group that appends (refold_writer), reads "
    "(refold_reader) or looks after the store (refold_maintainer); `refold init --roles` made them",
}
_MIXED_UP: Final = ("26000", "42P05")
"""A prepared statement is not there, or is there already: the session is not the one of before."""
_LARGE: Final = ("54000", "22P05", "22021")
"""More than a value, a row or an index can hold, or text that it cannot."""


def _is_of(error: psycopg.Error, codes: tuple[str, ...]) -> bool:
    return (error.sqlstate or "").startswith(codes) and error.sqlstate is not None


def is_lost(error: BaseException) -> bool:
    """Whether the connection is gone: what was asked for last may or may not have been done."""
    if not isinstance(error, psycopg.Error):
        return False
    # Of a session that ends with it, or a whole server: a commit may stand, whatever the code says.
    is_last = error.diag.severity_nonlocalized in ("FATAL", "PANIC")
    return (
        is_last
        or _is_of(error, _LOST)
        or (
            error.sqlstate is None
            and isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
        )
    )


def is_elsewhere(error: BaseException) -> bool:
    """Whether it is to be done through another connection."""
    return is_lost(error) or (isinstance(error, psycopg.Error) and _is_of(error, _READ_ONLY))


def is_worth_repeating(error: BaseException) -> bool:
    """Whether nothing was done and the same may succeed at once."""
    return isinstance(error, psycopg.Error) and _is_of(error, _AGAIN)


def named(error: psycopg.Error, where: str) -> RefoldError:
    """The name of what went wrong at a store; of an append, nothing was written."""
    said = str(error).strip().partition("\n")[0]
    if is_lost(error):
        return Unavailable(f"{where} cannot be reached now: {said}", url=where)
    if _is_of(error, _READ_ONLY):
        why = f"{where} takes no writes: {said}; is it a standby?"
        return Unavailable(f"{why} give all hosts and target_session_attrs=read-write", url=where)
    if is_worth_repeating(error) or _is_of(error, ("55P03", "57014")):
        return Unavailable(f"{where} stayed busy: {said}; nothing was written", url=where)
    if _is_of(error, ("53", "58")):
        return Unavailable(f"{where} has no room: {said}; nothing was written", url=where)
    if _is_of(error, _DETACHED):
        return BackendError(f"{where}: {said}", code="month_detached", url=where)
    if _is_of(error, _CLOSED):
        return BackendError(f"{where}: {said}", code="month_closed", url=where)
    if _is_of(error, _OTHER_SCHEMA):
        return UsageError(f"{where}: {said}", code="newer_schema", url=where)
    if _is_of(error, ("42501", "28")):
        why = f"{where} may not be used so: {said}{_way_out(said)}"
        return UsageError(why, code="not_writable", url=where)
    if _is_of(error, _MIXED_UP):
        return behind_pooler(f"{where} gave a statement to another session ({said})")
    if _is_of(error, _LARGE):
        return InvalidEvent(f"an append is more than {where} can hold: {said}; split it")
    if _is_of(error, _NOT_AS_MADE):
        why = f"{where} is not as refold made it: {said}; run `refold doctor`"
        return Corrupt(why, url=where)
    return BackendError(f"{where} cannot be used: {said}", url=where)


def _way_out(said: str) -> str:
    """What to do about a refusal, where the server's words say which it is."""
    return next((f": {do}" for part, do in _WAYS_OUT.items() if re.search(part, said)), "")


def behind_pooler(what: str) -> UsageError:
    """The error where a pooler stands between and the address does not say so, or says less."""
    return UsageError(
        f"{what}: add pgbouncer=true to the address, or pgbouncer=false where it gives each client "
        "a session for as long as it stays (pool_mode = session)",
        code="pooled",
    )


@contextmanager
def naming_errors(where: str) -> Iterator[None]:
    """Name what goes wrong at a store."""
    try:
        yield
    except psycopg.Error as error:
        raise named(error, where) from error


@contextmanager
def naming_refusals() -> Iterator[None]:
    """Tell a connection that is refused from one that is lost, as libpq does not."""
    try:
        yield
    except psycopg.OperationalError as error:
        # One line for each of several hosts: another may take it later.
        tried = [one for one in str(error).splitlines() if one.startswith("- ")] or [str(error)]
        if all(map(_REFUSED.search, tried)):
            raise psycopg.errors.InvalidAuthorizationSpecification(str(error)) from error
        raise


@contextmanager
def refused(sql: str, shown: str | None = None) -> Iterator[None]:
    """A statement of a caller that cannot be run is his fault: say which one it is.

    What is nobody's is named where it is known how the store is ``shown``.
    """
    try:
        yield
    except (psycopg.Error, OverflowError, UnicodeEncodeError) as error:
        code, said = getattr(error, "sqlstate", None) or "", str(error).strip().partition("\n")[0]
        if code == "25006" or "multiple commands" in said:
            raise read_only(sql) from error
        if code == "42501":
            why = f"PostgreSQL refused `{sql}`: {said}; who owns the store may"
            raise UsageError(why, code="not_writable", sql=sql) from error
        if (
            not isinstance(error, psycopg.Error)
            or code.startswith(_CALLERS_FAULT)
            or isinstance(error, _WRONG)
        ):
            why = f"PostgreSQL refused `{sql}`: {said}"
            raise UsageError(why, code="sql_refused", sql=sql) from error
        if shown is not None:
            raise named(error, shown) from error
        raise


def read_only(sql: str) -> UsageError:
    """The error for a query that is none."""
    return UsageError(
        f"a query is read only, and `{sql}` is no SELECT: rows are changed by the handlers of a "
        "projection alone",
        code="read_only",
        sql=sql,
    )
