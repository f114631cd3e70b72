"""The SQLite backend: one writer, a pool of readers, pages by key."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from os import getpid
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import apsw

from refold import ports, process
from refold.backends.rest import resting
from refold.backends.sqlite import doctor, file, maintenance, queries, snapshots, tags, unpacked
from refold.backends.sqlite.compression import Frames, dictionary_bytes, frames_of, read_again
from refold.backends.sqlite.errors import DRIVER_ERRORS, driver_error, naming_errors
from refold.backends.sqlite.file import Mode, close_quietly, rows_of, shaped
from refold.backends.sqlite.place import FILE_GONE, FilePlace, Rest, stat_of
from refold.backends.sqlite.writer import Writer
from refold.backends.tables import Tables, progress_of, queried
from refold.core.event import Kind
from refold.core.query import QueryItem
from refold.core.replacing import Replacement
from refold.core.snapshot import Snapshot
from refold.core.stored import Row
from refold.errors import BackendError, StoreClosed, Unavailable, UsageError
from refold.ports import NOTHING, Texts

T = TypeVar("T")
READERS_KEPT_MAX: Final = 8
Synchronous = Literal["FULL", "NORMAL"]


class SqliteBackend:
    """A log in one SQLite file in WAL mode.

    ``synchronous`` FULL: an acknowledged event survives power loss. NORMAL: it survives a crash of
    the process, and is several times faster one by one. The same file must never be opened with
    the standard ``sqlite3`` module in the same process: the two lose each other's locks. ``vfs``
    names another of SQLite's file systems to reach the file through.
    """

    def __init__(
        self,
        path: Path,
        *,
        mode: Mode = "create",
        synchronous: Synchronous = "FULL",
        vfs: str | None = None,
    ) -> None:
        file.check_path(path, mode=mode)
        # A process may change its folder before it opens another connection.
        self._path = path.absolute()
        self._mode: Mode = mode
        self._synchronous: Synchronous = synchronous
        self._vfs = vfs
        self._closed = False
        self._process = process.here()
        self._place = FilePlace(self._path)
        self._frames = Frames(self._dictionary)
        self._write_lock = threading.Lock()
        self._begun = threading.local()
        self._readers: deque[apsw.Connection] = deque(maxlen=READERS_KEPT_MAX)
        self._tables = Tables(self._reading)
        self._rest = self._place.at_rest() if mode == "read" else None
        first = self._connected(mode)
        try:
            file.prepare(first, path, mode=mode)
            self._writing = None if mode == "read" else first
            self._writer = None if mode == "read" else Writer(first, self._place)
            self._place.check(alone=self._rest is not None)
        except BaseException:
            close_quietly(first)
            raise
        if mode == "read":
            self._readers.append(first)
        resting.add(self)

    def commit(
        self, batches: Sequence[ports.Batch], *, now: int, beside: ports.Beside | None = None
    ) -> list[ports.Outcome]:
        """See :class:`~refold.ports.Backend`."""
        with self._write_lock:
            if self._closed:
                raise StoreClosed(f"{self._path} is closed")
            writer = self._writer or self._new_writer()
            try:  # Without a call where all is well: here it is each append's.
                is_well = stat_of(self._place.folder).st_ctime_ns == self._place.seen_ns
            except OSError:
                is_well = False
            if not is_well:
                self._place.check()
            try:
                return writer.commit(batches, now=now, beside=beside)
            except BaseException:
                writer.undo()
                raise

    @read_again
    def rows(
        self, stream: str, *, first: int, last: int, backward: bool, events_max: int
    ) -> list[Row]:
        """See :class:`~refold.ports.Backend`."""
        wanted = last if backward else first
        low = max(first, last - events_max + 1) if backward else first
        high = last if backward else min(last, first + events_max - 1)
        joined = self._read(queries.joined_page, stream, low, high, backward)
        if joined is not None and joined.version <= wanted <= joined.last_version:
            return [joined]
        # It was packed by the time that the appends were read, is yet to come, or is missing.
        packed = self._query(queries.SEGMENTS, stream, low, high)
        rows = [queries.row_of(self._frames, [stream, *values]) for values in packed]
        if joined is not None and not any(r.version <= wanted <= r.last_version for r in rows):
            return [joined]
        return rows[::-1] if backward else rows

    def whole(self, stream: str, *, last: int) -> Row | None:
        """See :class:`~refold.ports.WholeReader`."""
        row = self._read(queries.joined_page, stream, 0, last, sql=queries.WHOLE)
        return row if row is not None and row.version == 0 else None

    @read_again
    def log(
        self,
        *,
        after: int,
        categories: Sequence[str] | None,
        types: Sequence[str] | None,
        rows_max: int,
    ) -> list[Row]:
        """See :class:`~refold.ports.Backend`."""
        narrowed, wanted = queries.narrowed(categories, types)
        sql = queries.LOG_ROWS.format(narrowed=narrowed)
        if not self._query(queries.PACKED_AFTER, after):
            values = [after, queries.LAST_POSITION, rows_max, *wanted]
            found = self._read(queries.log_page, sql, values) or []
            rows = [queries.row_of(self._frames, values) for values in found]
            # A compaction may have come between the two queries.
            if all(row.packed_parts is None for row in rows):
                return rows
        place = {"after": after, "until": self.log_head(), "rows_max": rows_max}
        return queries.packed_log(self._query, self._frames, sql, wanted, **place)

    def tagged(self, item: QueryItem, *, after: int, rows_max: int) -> list[Row]:
        """See :class:`~refold.ports.Backend`."""
        mask = tags.ALL_TYPES
        if item.types:
            kinds = shaped(self._query("SELECT id, tag FROM types"), int, str)
            mask = tags.mask_of([i for i, tag in kinds if Kind.parse(tag).type in item.types])
        found = self._read(tags.appends, item, mask, after=after, rows_max=rows_max)
        segments: dict[int, list[Row]] = {}
        look = partial(self._read, tags.parts_at, self._frames)
        rows: list[Row] = []
        for name, *values, stream, version in found or ():
            if values[0] is not None:
                rows.append(queries.row_of(self._frames, [name, *values, None, None]))
            else:
                rows.append(tags.packed_append(segments, look, stream, version))
        return rows

    def find(self, key: str) -> ports.Kept | None:
        """See :class:`~refold.ports.Backend`."""
        return self._read(queries.kept_under, key)

    def head(self, stream: str) -> ports.StreamInfo | None:
        """See :class:`~refold.ports.Backend`."""
        return self._read(queries.head, stream)

    def log_head(self, *, reached: int = 0) -> int:  # noqa: ARG002
        """See :class:`~refold.ports.Backend`."""
        return sum([int(n) for (n,) in shaped(self._query(queries.LOG_HEAD), int)])

    def streams(
        self, *, category: str | None, after: str, streams_max: int
    ) -> list[ports.StreamInfo]:
        """See :class:`~refold.ports.Backend`."""
        narrowed, values = ("", ()) if category is None else ("category = ?3 AND ", (category,))
        sql = queries.STREAM.format(wanted=f"{narrowed}name > ?1 ORDER BY name LIMIT ?2")
        return [queries.stream_info(row) for row in self._query(sql, after, streams_max, *values)]

    def snapshot(self, stream: str, *, fold: str, fingerprint: str, last: int) -> Snapshot | None:
        """See :class:`~refold.ports.SnapshotKeeper`."""
        self._begun.mark = self._read(file.mark_of)  # Of the fold that this thread begins.
        wanted = {"fold": fold, "fingerprint": fingerprint, "last": last}
        return self._read(snapshots.latest, stream, **wanted)

    def keep_snapshots(self, taken: Sequence[Snapshot]) -> None:
        """See :class:`~refold.ports.SnapshotKeeper`; does nothing while others write for long."""
        if self._mode == "read" or not taken:
            return
        with suppress(Unavailable, UsageError), self._reading() as connection:
            snapshots.save(connection, taken, getattr(self._begun, "mark", None))

    def drop_snapshots(self) -> int:
        """See :class:`~refold.ports.SnapshotKeeper`."""
        with self._reading() as connection:
            connection.execute("DELETE FROM snapshots")
            return connection.changes()

    def write(self, work: Callable[[ports.Begin], T]) -> T:
        """See :class:`~refold.ports.TableKeeper`."""
        self._check_writable()
        return self._tables.write(work)

    def query(self, sql: str, values: Sequence[ports.SqlValue] = ()) -> ports.SelectedRows:
        """See :class:`~refold.ports.TableKeeper`."""
        with self._reading() as connection:
            return queried(unpacked.shown(connection, frames_of(connection)), sql, values)

    def progress(self, projection: str) -> int | None:
        """See :class:`~refold.ports.ProgressKeeper`."""
        return progress_of(self.query, projection)

    def check(self) -> Iterator[ports.Check]:
        """See :class:`~refold.ports.Backend`."""
        with self._reading() as connection:
            yield from doctor.checks(connection, self._path, frames_of(connection))

    def compact(self, *, until: int, progress: Callable[[int, int], None]) -> ports.Packed:
        """See :class:`~refold.ports.Compactor`; writers go on meanwhile."""
        from refold.backends.sqlite.compaction import Packer

        with self._reading() as connection:
            packer = Packer(connection, frames_of(connection))
            packed = packer.pack(until=until, progress=progress)
            connection.execute("PRAGMA incremental_vacuum").fetchall()
            return packed

    def replace(
        self, payloads: Mapping[int, bytes], metadata: Texts = NOTHING, shared: Texts = NOTHING
    ) -> None:
        """See :class:`~refold.ports.Eraser`."""
        from refold.backends.sqlite import eraser

        self._check_writable()
        with self._reading() as connection:
            eraser.replace(connection, Replacement(payloads, metadata, shared))

    def scrub(self, progress: Callable[[int, int], None]) -> Iterator[ports.Check]:
        """See :class:`~refold.ports.Eraser`."""
        from refold.backends.sqlite import eraser

        self._check_writable()
        with self._reading() as connection:
            yield from eraser.scrub(connection, progress)

    def sizes(self) -> list[ports.PartSize]:
        """See :class:`~refold.ports.Maintained`."""
        with self._reading() as connection:
            return maintenance.sizes(connection, self._path)

    def copy_to(self, target: Path) -> int:
        """See :class:`~refold.ports.Maintained`; also of files that are gone, while open here."""
        try:
            with self._reading(target) as connection:
                return maintenance.copy_to(connection, target)
        except BackendError as gone:
            if gone.code != FILE_GONE or self._writing is None:
                raise
        with self._write_lock, naming_errors(target):
            return maintenance.copy_to(self._writing, target)

    def repair(self) -> Iterator[str]:
        """See :class:`~refold.ports.Maintained`."""
        with self._reading() as connection:
            yield from maintenance.repairs(connection, frames_of(connection))

    def batches(self) -> Iterator[tuple[int, ports.Batch]]:
        """See :class:`~refold.ports.Copied`."""
        with self._reading() as connection:
            yield from unpacked.batches(connection, frames_of(connection))

    def close(self) -> None:
        """Let go of the file; closing twice is fine."""
        if self._process.is_here:
            with self._write_lock:
                self._closed = True
                self._close_writing()
            self._let_go()

    def close_idle(self) -> None:
        """Close the connections that nobody uses; they are opened again when they are needed."""
        with suppress(BackendError):  # Files that are gone are there as long as they are open.
            self._place.check(notes=False)
            self._let_go()

    def _let_go(self) -> None:
        self._writer = None  # Whoever commits next lets go of it too, and waits for another.
        if self._write_lock.acquire(blocking=False):  # Who has it may wait for this fork.
            try:
                self._close_writing()
            finally:
                self._write_lock.release()
        self._close_idle_readers()

    def _close_idle_readers(self) -> None:
        with suppress(IndexError):
            while True:
                reader = self._readers.pop()
                self._place.forget()
                close_quietly(reader)

    def _new_writer(self) -> Writer:
        self._check_writable()
        self._close_writing()
        self._writing = self._connected()
        self._writer = writer = Writer(self._writing, self._place)
        return writer

    def _check_writable(self) -> None:
        if self._mode == "read":
            raise UsageError(f"{self._path} was opened for reading", code="not_writable")

    def _close_writing(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            self._place.forget()
            close_quietly(writing)

    def _dictionary(self, number: int) -> bytes:
        with self._reading() as connection:
            return dictionary_bytes(connection, number)

    def _query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._read(rows_of, sql, *values) or []

    def _read(self, read: Callable[..., T], *arguments: Any, **named: Any) -> T | None:
        """What a function reads by a connection, given before the arguments."""
        with self._reading() as connection:
            try:
                return read(connection, *arguments, **named)
            except UnicodeEncodeError:
                return None  # UTF-8 cannot hold the name, so no row does.

    def _connected(self, mode: Mode = "write") -> apsw.Connection:
        # Snapshots and segments too: what they left unsynced, a later failed sync could lose
        # from the middle of the WAL, with every append that was acknowledged after it.
        alone = self._rest is not None
        return file.connect(self._path, mode, self._synchronous, self._vfs, alone=alone)

    @contextmanager
    def _reading(self, path: Path | None = None) -> Iterator[apsw.Connection]:
        """A reader of this thread's own, for one query; ``path`` is what errors are about."""
        if self._process.pid != getpid():
            self._process.check()
        if self._closed:
            raise StoreClosed(f"{self._path} is closed")
        rest = self._renewed() if self._mode == "read" else None
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._connected("read" if self._mode == "read" else "write")
        try:
            try:
                is_well = stat_of(self._place.folder).st_ctime_ns == self._place.seen_ns
            except OSError:
                is_well = False
            if not is_well:
                self._place.check(alone=rest is not None)
            yield connection
        except DRIVER_ERRORS as error:
            raise driver_error(error, path or self._path) from error
        finally:
            # In a transaction: an interrupt came before its end, or before that of a query, whose
            # view of the log every later query by this connection would have.
            is_clean = connection.txn_state() == apsw.SQLITE_TXN_NONE and rest == self._rest
            if self._closed or len(self._readers) >= READERS_KEPT_MAX or not is_clean:
                self._place.forget()
                connection.close(True)
            else:
                self._readers.append(connection)
            if rest is not None:
                self._place.check_unchanged(rest)

    def _renewed(self) -> Rest | None:
        """The state of a file at rest; what was opened of another state shows that for ever."""
        rest = self._place.at_rest()
        if rest != self._rest:
            self._rest = rest
            self._place.forget()
            self._close_idle_readers()
        return rest
