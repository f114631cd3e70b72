"""The PostgreSQL backend: one connection that writes, some that read, pages by key."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, islice
from typing import Any, Literal, TypeVar

import psycopg

from refold import ports
from refold.archive.month import ArchivedAppend
from refold.backends.copied import StoredAppend, as_batches
from refold.backends.postgres import doctor, eraser, queries, schema
from refold.backends.postgres.address import parsed
from refold.backends.postgres.away import DetachedMonths, unbroken
from refold.backends.postgres.errors import naming_errors
from refold.backends.postgres.listener import Listener
from refold.backends.postgres.partitions import ServerMonths
from refold.backends.postgres.schema import Mode
from refold.backends.postgres.session import ServerSession, Sessions
from refold.backends.postgres.tables import ServerTables
from refold.backends.postgres.writer import PostgresWriter
from refold.core.query import QueryItem
from refold.core.replacing import Replacement
from refold.core.snapshot import Snapshot
from refold.core.stored import Row
from refold.errors import InvalidEvent, Unavailable, UsageError
from refold.ports import NOTHING, StreamInfo, Texts
from refold.process import here

T = TypeVar("T")


class PostgresBackend:
    """A log in a schema of a PostgreSQL database; see :mod:`refold.backends.postgres.address`.

    ``synchronous`` FULL: an acknowledged event is on the server's disk, and on its synchronous
    standbys' as the server is set. NORMAL: a crash of the server may lose the last half second.
    """

    sql = "postgresql"

    def __init__(
        self, url: str, *, mode: Mode = "create", synchronous: Literal["FULL", "NORMAL"] = "FULL"
    ) -> None:
        address = parsed(url) if mode == "read" else parsed(url).for_writing()
        self.shown, self._tenant, self._mode = address.shown, address.tenant, mode
        self._process = here()
        self._sessions = Sessions(address)
        self._reached = self._sessions.reached
        self._tables = ServerTables(self._sessions)
        self._writer = PostgresWriter(address, self._reached, durable=synchronous == "FULL")
        self._listener = Listener(address)
        self._months = DetachedMonths(self._sessions)
        self.month_keeper = ServerMonths(self._sessions, self._check_writable)
        self._write_lock = threading.Lock()
        try:
            with naming_errors(self.shown), self._sessions.lent() as session:
                schema.prepare(session, address, mode=mode)
        except BaseException:
            self._sessions.close()
            raise

    def commit(
        self, batches: Sequence[ports.Batch], *, now: int, beside: ports.Beside | None = None
    ) -> list[ports.Outcome]:
        """See :class:`~refold.ports.Backend`."""
        return self._commit(batches, now, beside=beside)

    def restore(self, timed: Sequence[tuple[int, ports.Batch]]) -> list[ports.Outcome]:
        """See :class:`~refold.engine.copying.Restorer`; a commit a month: each may be closed."""
        outcomes = []
        for _, month in groupby(timed, key=lambda one: schema.month_of(one[0])):
            clocks, batches = zip(*month, strict=True)
            outcomes += self._commit(batches, *clocks)
        return outcomes

    def _commit(
        self, batches: Sequence[ports.Batch], *clocks: int, beside: ports.Beside | None = None
    ) -> list[ports.Outcome]:
        self._process.check()
        with self._write_lock:
            self._sessions.check()
            self._check_writable()
            outcomes = self._writer.commit(batches, *clocks, beside=beside)
        for told in outcomes:
            if isinstance(told, list):
                self._reached.note(told[-1].position, told[-1].recorded_at_us)
        return outcomes

    def rows(
        self, stream: str, *, first: int, last: int, backward: bool, events_max: int
    ) -> list[Row]:
        """See :class:`~refold.ports.Backend`."""
        low = max(first, last - events_max + 1) if backward else first
        high = min(last if backward else first + events_max - 1, last, queries.LAST_POSITION)

        def read() -> list[Row]:
            place = self._tenant, stream, low, high
            return self._read(queries.stream_page, *place, backward=backward) or []

        page = read()
        rows = unbroken(page, high if backward else low, backward=backward)
        return rows or self._detached_rows(stream, low, high, page, backward=backward) or read()

    def _detached_rows(
        self, stream: str, low: int, high: int, page: list[Row], *, backward: bool
    ) -> list[Row]:
        """The same of a page that lacks the first of them; none where the stream has none there."""
        info = self.head(stream)
        if info is None:
            return page
        low = max(low, 0 if info.fork is None else info.fork.version + 1)
        high = min(high, info.version)
        edge = high if backward else low
        rows = page if low > high else unbroken(page, edge, backward=backward)
        if rows or low > high:
            return rows
        found = self._months.rows(stream, first=low, last=high)
        return unbroken(found[::-1] if backward else found, edge, backward=backward)

    def whole(self, stream: str, *, last: int) -> Row | None:
        """See :class:`~refold.ports.WholeReader`."""
        return self._read(queries.whole, self._tenant, stream, last=last)

    def log(
        self,
        *,
        after: int,
        categories: Sequence[str] | None,
        types: Sequence[str] | None,
        rows_max: int,
    ) -> list[Row]:
        """See :class:`~refold.ports.Backend`."""
        while True:
            wanted = after, rows_max, categories, types
            rows, away = self._read(queries.log_page, self._tenant, *wanted) or ([], None)
            if rows:
                self._reached.note(rows[-1].position, rows[-1].recorded_at)
            if rows or away is None:
                return rows
            found = self._months.log(away, after=after, categories=categories, types=types)
            if rows := [one.row for one in islice(found, rows_max)]:
                return rows
            after = away.last

    def tagged(self, item: QueryItem, *, after: int, rows_max: int) -> list[Row]:
        """See :class:`~refold.ports.TagKeeper`."""
        found = self._read(queries.tagged_page, self._tenant, item, after, rows_max) or []
        return [row if isinstance(row, Row) else self._at(row) for row in found]

    def _at(self, position: int) -> Row:
        """The append that holds a position, of which it is known that there is one."""
        whole = {"categories": None, "types": None}
        return self.log(after=position - 1, **whole, rows_max=1)[0]

    def find(self, key: str) -> ports.Kept | None:
        """See :class:`~refold.ports.Backend`."""
        return self.find_all([key]).get(key)

    def find_all(self, keys: Sequence[str]) -> dict[str, ports.Kept]:
        """See :class:`~refold.engine.copying.Restorer`."""
        return self._read(queries.kept_under, self._tenant, keys) or {}

    def head(self, stream: str) -> StreamInfo | None:
        """See :class:`~refold.ports.Backend`."""
        return next(iter(self._read(queries.heads, self._tenant, [stream]) or ()), None)

    def log_head(self, *, reached: int = 0) -> int:
        """See :class:`~refold.ports.Backend`."""
        head, recorded_at = self._read(queries.log_end, self._tenant) or (0, 0)
        if head < max(reached, self._reached.last[0]):
            return self._sessions.retried(lambda one: self._reached.awaited(one.run, reached))
        self._reached.note(head, recorded_at)
        return head

    def streams(
        self, *, category: str | None, after: str, streams_max: int
    ) -> list[ports.StreamInfo]:
        """See :class:`~refold.ports.Backend`."""
        narrowed = self._tenant, category, after, streams_max
        return self._read(queries.streams_page, *narrowed) or []

    def snapshot(self, stream: str, *, fold: str, fingerprint: str, last: int) -> Snapshot | None:
        """See :class:`~refold.ports.SnapshotKeeper`."""
        wanted = {"fold": fold, "fingerprint": fingerprint, "last": last}
        return self._read(queries.latest_snapshot, self._tenant, stream, **wanted)

    def keep_snapshots(self, taken: Sequence[Snapshot]) -> None:
        """See :class:`~refold.ports.SnapshotKeeper`; does nothing where it cannot."""
        if self._mode == "read" or not taken:
            return
        with suppress(psycopg.Error, Unavailable), self._sessions.lent() as session:
            queries.save_snapshots(session, self._tenant, taken)

    def drop_snapshots(self) -> int:
        """See :class:`~refold.ports.SnapshotKeeper`."""
        self._check_writable()
        return self._read(queries.drop_snapshots, self._tenant) or 0

    def announce(self, ring: Callable[[], None]) -> None:
        """See :class:`~refold.ports.Announcer`."""
        self._listener.add(ring)

    def write(self, work: Callable[[ports.Begin], T]) -> T:
        """See :class:`~refold.ports.TableKeeper`."""
        self._check_writable()
        with naming_errors(self.shown):
            return self._tables.write(work)

    def query(self, sql: str, values: Sequence[ports.SqlValue] = ()) -> ports.SelectedRows:
        """See :class:`~refold.ports.TableKeeper`."""
        return self._tables.query(sql, values)

    def progress(self, projection: str) -> int | None:
        """See :class:`~refold.ports.ProgressKeeper`."""
        return self._read(queries.progress, self._sessions.address.room, projection)

    def check(self) -> Iterator[ports.Check]:
        """See :class:`~refold.ports.Checkable`."""
        with naming_errors(self.shown), self._sessions.lent() as session:
            yield from doctor.checks(session, self._tenant, self._months)

    def replace(
        self, payloads: Mapping[int, bytes], metadata: Texts = NOTHING, shared: Texts = NOTHING
    ) -> None:
        """See :class:`~refold.ports.Eraser`."""
        new = Replacement(payloads, metadata, shared)
        new.check()
        address = self._sessions.address
        for month in self.write(lambda begin: eraser.ServerEraser(begin(), address, new).all()):
            month.finish()

    def scrub(self, progress: Callable[[int, int], None]) -> Iterator[ports.Check]:
        """See :class:`~refold.ports.Eraser`."""
        progress(0, 0)
        address = self._sessions.address
        yield ports.Check("snapshots", True, f"{self.drop_snapshots()} dropped")
        try:
            done = self.write(lambda begin: eraser.rewritten(begin, address.schema))
        except Unavailable as error:
            done = False, f"they hold what was replaced: {error}: run it again"
        yield ports.Check("tables", *done)
        months, ((told,),) = (
            self._read(ServerSession.run, name) or [] for name in eraser.ELSEWHERE
        )
        yield eraser.archives(months, address.archive)
        yield ports.Check("write-ahead log", False, told)

    def sizes(self) -> list[ports.PartSize]:
        """See :class:`~refold.ports.Measured`; of all tenants."""
        return [ports.PartSize(*row) for row in self._read(queries.sizes) or ()]

    def batches(self) -> Iterator[tuple[int, ports.Batch]]:
        """See :class:`~refold.ports.Copied`."""
        return as_batches(self._appends())

    def _appends(self) -> Iterator[StoredAppend]:
        after = 0
        while found := self._read(queries.stored_appends, self._tenant, after):
            page, away = found
            yield from page
            if page:
                after = page[-1].position
            elif away is not None:
                yield from map(self._stored, self._months.log(away))
                after = away.last
            else:
                return

    def _stored(self, one: ArchivedAppend) -> StoredAppend:
        info = self.head(one.stream)
        fork = (None, None) if info is None or info.fork is None else info.fork
        place = one.position, one.stream, one.version, one.recorded_at, one.clock_at
        return StoredAppend(*place, one.metadata, one.body, one.key, one.digest, *fork)

    def close(self) -> None:
        """Let go of the connections; closing twice is fine."""
        self._sessions.close()
        if self._process.is_here:
            self._listener.close()
            self._months.close()
            with self._write_lock:
                self._writer.close()

    def _read(self, read: Callable[..., T], *arguments: Any, **named: Any) -> T | None:
        """What a function reads by a connection, given before the arguments."""

        def asked(session: ServerSession) -> T:
            return read(session, *arguments, **named)

        try:
            return self._sessions.retried(asked)
        except (UnicodeEncodeError, InvalidEvent):
            return None  # UTF-8 cannot hold the name, or PostgreSQL the NUL in it: no row does.

    def _check_writable(self) -> None:
        if self._mode == "read":
            raise UsageError(f"{self.shown} was opened for reading", code="not_writable")
