"""How long work on months waits: for a server that works, and for who holds the log.

What looks at a whole month takes as long as that is large, so a silent server is asked through
another connection whether it is there at all. A lock is waited for with a limit of its own, and
whoever keeps it is named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import psycopg

from refold.backends.postgres.session import ServerSession, connected, repeated
from refold.backends.postgres.tables import BEGIN
from refold.errors import RefoldError, Unavailable

T = TypeVar("T")

PATIENCE_S: Final = 21_600.0
"""So long, six hours, one answer may take of a server that works,"""
SOON_S: Final = 600.0
BYTES_PER_S: Final = 1_000_000
"""nor longer than this and what the log takes at that rate: one process of it may stand still."""
LOOK_S: Final = 60.0
"""After so long without a sign it is asked whether it does."""
LOCK_MS: Final = 200
"""So long a change of the log waits for its readers and writers at a time: they wait behind it."""
TRIES_S: Final = 30.0
"""So long it is tried, and so long a reader waits for whoever locks all others out."""
PAUSE_S: Final = 0.3
STAYED: Final = "the months stayed as they are"


@contextmanager
def patient(session: ServerSession) -> Iterator[ServerSession]:
    """A session of which each answer may take the time that a log so large takes, in a block."""
    usual = session.answer_s, session.works
    session.answer_s = LOOK_S
    try:
        limit_s = min(PATIENCE_S, SOON_S + _log_bytes(session) / BYTES_PER_S)
        session.answer_s = min(LOOK_S, limit_s)
        session.works = lambda silent_s: silent_s < limit_s and _works(session)
        yield session
    finally:
        session.answer_s, session.works = usual


def _log_bytes(session: ServerSession) -> float:
    """What all months take; where one is locked that is not known, and the log may be large."""
    try:
        with transaction(session):
            session.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
            return float(session.run("log_bytes")[0][0] or 0)
    except psycopg.errors.LockNotAvailable:
        return PATIENCE_S * BYTES_PER_S


def _works(session: ServerSession) -> bool:
    """Whether its server answers others, and has not ended it."""
    there, address = session.info, session.address
    host = {"host": there.host, "hostaddr": there.hostaddr, "port": there.port}

    def asked() -> bool:
        with connected(address._replace(conninfo=address.conninfo | host)) as other:
            stands = other.run("is_pid", there.backend_pid)
            return bool(stands) or address.is_pooled is not None  # That gives it another number.

    try:
        return repeated(address.shown, asked)
    except RefoldError:
        return False


@contextmanager
def transaction(session: ServerSession) -> Iterator[None]:
    """A transaction at READ COMMITTED, undone by an error."""
    session.execute(BEGIN)
    try:
        yield
        session.execute("COMMIT")
    finally:
        if not session.closed and not session.is_idle:
            session.rollback()


@contextmanager
def reading(session: ServerSession) -> Iterator[None]:
    """A transaction that waits for ``TRIES_S`` at most for whoever locks readers out."""
    try:
        with transaction(session):
            limit_locks(session)
            yield
    except psycopg.errors.LockNotAvailable as error:
        raise held(session) from error


def limit_locks(session: ServerSession) -> None:
    """Let the statements of a transaction wait for ``TRIES_S`` at most for who locks them out."""
    session.execute(f"SET LOCAL lock_timeout = {round(TRIES_S * 1_000)}")


def briefly(session: ServerSession, work: Callable[[], T], *, else_: str = STAYED) -> T:
    """Do what locks the log; again where others hold it, for whom it waits a moment at a time.

    After a while :class:`~refold.errors.Unavailable` says who they are, and how things are then.
    """
    until = time.monotonic() + TRIES_S
    while True:
        try:
            with session.transaction():
                session.execute(f"SET LOCAL lock_timeout = {LOCK_MS}")
                return work()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if time.monotonic() > until:
                raise held(session, else_) from error
        time.sleep(PAUSE_S)


def held(session: ServerSession, what: str = STAYED) -> Unavailable:
    """The error where others keep the log, and who they are."""
    holders = session.run("holders")
    told = ", ".join(f"{pid} ({name or 'no name'}, {state})" for pid, name, state in holders)
    why = f"for {TRIES_S:.0f} s others held the log of {session.address.shown}; {what}"
    if not holders:
        return Unavailable(f"{why}: try again", url=session.address.shown)
    advice = f"wait for them, or end them with SELECT pg_terminate_backend({holders[0][0]})"
    return Unavailable(
        f"{why}; by their process they are {told}: {advice}",
        url=session.address.shown,
        pids=[one[0] for one in holders],
    )
