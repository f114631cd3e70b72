"""Connections: what they send and take, how long they wait, and who has which.

Nothing is set for a session: what a statement needs is set in its transaction, so that a pooler may
give every transaction another session.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.pq.abc import PGresult
from psycopg.types.array import ListBinaryDumper
from psycopg.types.numeric import Int8BinaryDumper
from psycopg.types.string import StrBinaryDumper, TextLoader

from refold.backends.postgres import arrays
from refold.backends.postgres.address import Address
from refold.backends.postgres.errors import (
    behind_pooler,
    is_elsewhere,
    is_lost,
    is_worth_repeating,
    named,
    naming_refusals,
)
from refold.backends.postgres.reached import Reached
from refold.backends.postgres.statements import statement
from refold.errors import StoreClosed, Unavailable
from refold.process import here

T = TypeVar("T")

SESSIONS_MAX: Final = 8
"""So many connections at once read for a process; who comes later waits."""
ANSWER_S: Final = 60.0
"""A server that does not answer for so long is taken for lost: it may have been stopped."""
READ_S: Final = 600.0
"""The same of whoever reads: a query over a large log takes its time."""
RETRY_S: Final = 30.0
"""How long a lost connection is made again, or a lost race run again, before it is told."""
KEPT_ROWS_MAX: Final = 16
BARE: Final = "append_one"
"""A statement that is run without a cursor: often, for a row of numbers and JSON."""
SOON_MS: Final = 20
"""So long an answer of the bare statement is waited for without psycopg."""
_IDLE: Final = int(TransactionStatus.IDLE)
_PAUSES_S: Final = (0.02, 0.5)


class _NumberLoader(Loader):
    """Numbers that SQL has computed, as SQLite gives them: whole ones ``int``, others ``float``."""

    def load(self, data: Buffer) -> int | float:
        text = bytes(data)
        return int(text) if text.isdigit() or text[1:].isdigit() else float(text)


class _BitLoader(Loader):
    """Booleans, as SQLite gives them: 1 and 0."""

    def load(self, data: Buffer) -> int:
        return int(data == b"t")


class ServerSession(psycopg.Connection[tuple[Any, ...]]):
    """A connection in which each statement is a transaction, but between BEGIN and COMMIT."""

    address: Address
    schema: str = "refold"
    answer_s: float = ANSWER_S
    works: Callable[[float], bool] = staticmethod(lambda _silent_s: False)
    """Asked after each ``answer_s`` without a sign whether the server is still there."""
    _is_marked = False
    """Whether the statement that is run without a cursor is prepared."""
    _kept: psycopg.Cursor[tuple[Any, ...]] | None = None
    """One cursor for all of them: it knows how to send and take each type."""

    def run(self, name: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of one of refold's own statements, by its name."""
        if name == BARE and self.prepare_threshold and self.is_idle:
            try:
                return [self._row(name, values)]
            except psycopg.errors.InvalidSqlStatementName:
                # psycopg has all statements forgotten after a ROLLBACK; nothing ran.
                self._is_marked = False
                return [self._row(name, values)]
        if self._kept is None:
            self._kept = self.cursor()
        cursor = self._kept
        result = cursor.execute(statement(name, self.schema), values).pgresult
        found = cursor.fetchall() if result is not None and result.nfields else []
        if len(found) > KEPT_ROWS_MAX:
            self._kept = None  # A cursor holds what came last.
        return found

    def _row(self, name: str, values: Sequence[Any]) -> tuple[Any, ...]:
        """The row of a statement, of values that are text, or said as text.

        A cursor looks at each value, and at what the statement is: half of the time of an append.
        """
        mark = f"{name} {self.schema}".encode()[:63]
        if not self._is_marked:
            self.pgconn.send_prepare(mark, statement(name, self.schema).encode())
            self._is_marked = self._answer() is not None
        sent = [None if value is None else str(value).encode() for value in values]
        # In binary, for a NUL would end a text.
        forms = [value.__class__ is str for value in values]
        self.pgconn.send_query_prepared(mark, sent, forms)
        result = self._answer()
        found = [result.get_value(0, place) for place in range(result.nfields)]
        return tuple(text and (int(text) if text.isdigit() else text.decode()) for text in found)

    def _answer(self) -> PGresult:
        """The first result of what was sent; the commit comes after it, and may fail by itself."""
        # Mostly it comes at once: to wait for it as psycopg does takes as long as to send it.
        if not self.pgconn.flush() and self._sooner.poll(SOON_MS):
            self.pgconn.consume_input()
        results: list[PGresult] = self.wait(execute(self.pgconn))
        for result in results:
            if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
                raise error_from_result(result)
        return results[0]

    @cached_property
    def _sooner(self) -> select.poll:
        """Its socket, to be looked at for an answer."""
        poller = select.poll()
        poller.register(self.pgconn.socket, select.POLLIN)
        return poller

    def wait(self, gen: Generator[Any, Any, T], *given: Any, **options: Any) -> T:
        """See psycopg; but not for ever: who does not answer is not waited for again."""
        try:
            return super().wait(_limited(gen, self.answer_s, self.works), *given, **options)
        except _Silent:
            self.close()
            raise

    @property
    def is_idle(self) -> bool:
        """Whether it is in no transaction and has nothing to do."""
        return self.pgconn.transaction_status == _IDLE


def connected(address: Address, *, answer_s: float = ANSWER_S) -> ServerSession:
    """A new connection, which waits so long for an answer."""
    with naming_refusals():
        session = ServerSession.connect(
            **address.conninfo,
            autocommit=True,
            cursor_factory=psycopg.RawCursor,
            # A pooler gives a prepared statement to one session and its next use to another.
            prepare_threshold=None if address.is_pooled else 5,
        )
    session.address, session.schema, session.answer_s = address, address.schema, answer_s
    if address.is_pooled is None:
        _check_direct(session, address.shown)
    adapters = session.adapters
    usual = ((str, StrBinaryDumper), (int, Int8BinaryDumper), (list, ListBinaryDumper))
    for kind, dumper in (*usual, *arrays.DUMPERS):
        adapters.register_dumper(kind, dumper)
    for name, loader in (("numeric", _NumberLoader), ("bool", _BitLoader), ("json", TextLoader)):
        adapters.register_loader(name, loader)
    return session


def _check_direct(session: ServerSession, shown: str) -> None:
    """Refuse a pooler of which the address says nothing: what it passes on cannot be seen.

    It tells its clients other numbers of their sessions than the server does, so that they cancel
    through it.
    """
    try:
        ((pid,),) = session.execute("SELECT pg_backend_pid()").fetchall()
        if pid != session.info.backend_pid:
            raise behind_pooler(f"{shown} is reached through a pooler")
    except BaseException:
        close_quietly(session)
        raise


class Sessions:
    """The connections that a store reads by, kept for the next reader.

    No thread looks after them, as the pool of psycopg has: a store is opened by every process of
    a program, and forked ones must not wait for threads that they do not have.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.is_closed = False
        self.reached = Reached(address)
        self._process = here()
        self._idle: deque[ServerSession] = deque()
        # A semaphore keeps its own lock for ever where an interrupt comes while it is held.
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(SESSIONS_MAX):
            self._free.put(None)

    def check(self) -> None:
        """Refuse to go on in a forked process, or after the store was closed."""
        self._process.check()
        if self.is_closed:
            raise StoreClosed(f"{self.address.shown} is closed")
        self.reached.refuse()

    def retried(self, work: Callable[[ServerSession], T]) -> T:
        """What some reading gives, by a connection; done again where the server went away."""
        return repeated(self.address.shown, lambda: self._once(work))

    def _once(self, work: Callable[[ServerSession], T]) -> T:
        try:
            with self.lent() as session:
                return work(session)
        except psycopg.Error as error:
            if is_lost(error):
                self.close_idle()
            raise

    @contextmanager
    def lent(self) -> Iterator[ServerSession]:
        """A connection for a block."""
        self.check()
        session = None
        try:
            self._free.get(timeout=RETRY_S)
        except Empty:
            why = f"{SESSIONS_MAX} connections to {self.address.shown} were in use"
            raise Unavailable(f"{why} for {RETRY_S:.0f} s", url=self.address.shown) from None
        try:
            session = self._kept() or self._connected()
            yield session
        finally:
            try:
                if session is not None:
                    self._let_go(session)
            finally:
                self._free.put(None)

    def _connected(self) -> ServerSession:
        session = connected(self.address, answer_s=READ_S)
        try:
            self.reached.check(session.run)
        except BaseException:
            close_quietly(session)
            raise
        return session

    def _let_go(self, session: ServerSession) -> None:
        if not (self.is_closed or session.closed or session.is_idle):
            with suppress(psycopg.Error):
                session.rollback()  # What was begun and not ended.
        if self.is_closed or not session.is_idle:
            close_quietly(session)
        else:
            self._idle.append(session)

    def _kept(self) -> ServerSession | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def close_idle(self) -> None:
        """Close the connections that nobody uses."""
        with suppress(IndexError):
            while True:
                close_quietly(self._idle.pop())

    def close(self) -> None:
        """Close them all; closing twice is fine, and nothing is closed that another process has."""
        if self._process.is_here:
            self.is_closed = True
            self.close_idle()


def repeated(where: str, work: Callable[[], T]) -> T:
    """What some work gives; done again for a while where the server went away, or a race was lost.

    For what may be done twice.
    """
    until, pause_s = time.monotonic() + RETRY_S, _PAUSES_S[0]
    while True:
        try:
            return work()
        except psycopg.Error as error:
            is_over = time.monotonic() + pause_s > until
            if is_over or not (is_elsewhere(error) or is_worth_repeating(error)):
                raise named(error, where) from error
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSES_S[1])


def close_quietly(session: ServerSession) -> None:
    """Close what nobody is to hear of."""
    with suppress(psycopg.Error):
        session.close()


class _Silent(psycopg.OperationalError):
    """A server that does not answer."""


def _limited(
    gen: Generator[Any, Any, T], answer_s: float, works: Callable[[float], bool]
) -> Generator[Any, Any, T]:
    """A generator of psycopg, ended where nothing comes for so long from who does not work."""
    heard = time.monotonic()
    until = heard + answer_s
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                heard = time.monotonic()
                until = heard + answer_s
            elif time.monotonic() > until:
                silent_s = time.monotonic() - heard
                if not works(silent_s):
                    raise _Silent(f"the server did not answer for {silent_s:.0f} s")
                until = time.monotonic() + answer_s
            wanted = gen.send(ready)
    except StopIteration as done:
        answer: T = done.value
        return answer
