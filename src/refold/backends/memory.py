"""A log in memory, for tests and throw-away work: nothing outlives the process."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from typing import NoReturn, TypeVar

from refold.backends.copied import tags_in
from refold.backends.plan import Known, Needs, Plan, matches, needs, plan
from refold.backends.tables import in_memory, progress_of
from refold.core.canonical import OF_REPLACED
from refold.core.event import Kind, category_of
from refold.core.query import Query, QueryItem
from refold.core.replacing import Replacement, replaced
from refold.core.snapshot import Snapshot
from refold.core.stored import Row
from refold.errors import NotFound, RefoldError, StoreClosed
from refold.ports import (
    NOTHING,
    Batch,
    Begin,
    Beside,
    Check,
    Fork,
    Kept,
    Outcome,
    SelectedRows,
    SqlValue,
    StreamInfo,
    TableTransaction,
    Texts,
    Write,
)
from refold.process import ProcessLock

T = TypeVar("T")


class _Stream:
    def __init__(self, fork: Fork | None) -> None:
        self.fork = fork
        self.rows: list[Row] = []
        self.versions: list[int] = []


class MemoryBackend:
    """Keeps every row in lists under one lock."""

    def __init__(self) -> None:
        self._lock: Callable[[], AbstractContextManager[object]] = ProcessLock()
        self._log: list[Row] = []
        self._positions: list[int] = []
        self._writes: list[Write] = []
        self._types: list[frozenset[str]] = []
        self._streams: dict[str, _Stream] = {}
        self._keys: dict[str, Kept] = {}
        self._snapshots: dict[tuple[str, str], dict[int, Snapshot]] = {}
        self._tables = in_memory()

    def commit(
        self, batches: Sequence[Batch], *, now: int, beside: Beside | None = None
    ) -> list[Outcome]:
        """See :class:`~refold.ports.Backend`."""
        with self._lock():
            if beside is None:
                return self._stored(batches, now)
            return self.write(lambda begin: self._all_beside(batches, now, begin(), beside))

    def _all_beside(
        self, batches: Sequence[Batch], now: int, tables: TableTransaction, beside: Beside
    ) -> list[Outcome]:
        beside.begin(tables, after=self.log_head())
        add = partial(beside.add, tables)
        outcomes = [self._stored([batch], now, tables, add)[0] for batch in batches]
        beside.end(tables, position=self.log_head())
        return outcomes

    def _stored(
        self,
        batches: Sequence[Batch],
        now: int,
        tables: TableTransaction | None = None,
        add: Callable[[Sequence[Row]], RefoldError | None] | None = None,
    ) -> list[Outcome]:
        planned = plan(batches, self._known(needs(batches)))
        first = self.log_head() + 1
        moment = planned.moment(now, self._log[-1].recorded_at if self._log else now)
        rows = [place.row(first, *moment) for place in planned.places]
        if rows and tables is not None and add is not None:
            tables.execute("SAVEPOINT append")
            refusal = add(rows)
            if refusal is not None:
                tables.execute("ROLLBACK TO append")
            tables.execute("RELEASE append")
            if refusal is not None:
                return [refusal]
        self._before_kept(planned, rows, batches)
        for place, row in zip(planned.places, rows, strict=True):
            self._keep(place.write, row)
        outcomes = planned.outcomes(first, moment[0])
        for batch, outcome in zip(batches, outcomes, strict=True):
            if batch.key is not None and isinstance(outcome, list):
                self._keys.setdefault(batch.key, Kept(outcome, batch.digest))
        return outcomes

    def _before_kept(self, planned: Plan, rows: Sequence[Row], batches: Sequence[Batch]) -> None:
        """Rows of a plan are about to be kept."""

    def _known(self, wanted: Needs) -> Known:
        infos = [info for stream in wanted.streams if (info := self.head(stream))]
        found = {one: self._found_after(*one) for one in wanted.conditions}
        return Known(
            self.log_head(),
            {info.stream: info.version for info in infos},
            self._keys,
            {one: position for one, position in found.items() if position is not None},
        )

    def _keep(self, write: Write, row: Row) -> None:
        stream = self._streams.setdefault(write.stream, _Stream(write.fork))
        stream.rows.append(row)
        stream.versions.append(row.version)
        self._log.append(row)
        self._positions.append(row.position)
        self._writes.append(write)
        self._types.append(frozenset(Kind.parse(tag).type for tag in write.kinds))

    def rows(
        self, stream: str, *, first: int, last: int, backward: bool, events_max: int
    ) -> list[Row]:
        """See :class:`~refold.ports.Backend`."""
        with self._lock():
            found = self._streams.get(stream)
            if found is None:
                return []
            low = max(first, last - events_max + 1) if backward else first
            high = last if backward else min(last, first + events_max - 1)
            start = max(bisect_right(found.versions, low) - 1, 0)
            rows = found.rows[start : bisect_right(found.versions, high)]
            rows = [row for row in rows if row.last_version >= low]
            return rows[::-1] if backward else rows

    def log(
        self,
        *,
        after: int,
        categories: Sequence[str] | None,
        types: Sequence[str] | None,
        rows_max: int,
    ) -> list[Row]:
        """See :class:`~refold.ports.Backend`."""
        of_categories, of_types = set(categories or ()), set(types or ())

        def is_wanted(index: int) -> bool:
            if types is not None and self._types[index].isdisjoint(of_types):
                return False
            return categories is None or category_of(self._log[index].stream) in of_categories

        return self._after(after, is_wanted, rows_max)

    def tagged(self, item: QueryItem, *, after: int, rows_max: int) -> list[Row]:
        """See :class:`~refold.ports.Backend`."""

        def is_wanted(index: int) -> bool:
            fits = item.fits(self._types[index], self._writes[index].tags)
            return fits and "~" not in self._log[index].stream

        return self._after(after, is_wanted, rows_max)

    def _after(self, after: int, is_wanted: Callable[[int], bool], rows_max: int) -> list[Row]:
        with self._lock():
            found = filter(is_wanted, range(self._index_after(after), len(self._log)))
            return [self._log[index] for index in islice(found, rows_max)]

    def find(self, key: str) -> Kept | None:
        """See :class:`~refold.ports.Backend`."""
        with self._lock():
            return self._keys.get(key)

    def _found_after(self, query: Query, after: int) -> int | None:
        for index in range(self._index_after(after), len(self._log)):
            position, write = self._positions[index], self._writes[index]
            if matches(query, write, position=position, after=after):
                return position + len(write.kinds) - 1
        return None

    def _index_after(self, after: int) -> int:
        """Of the row with the event after a position; how many there are where there is none."""
        index = max(bisect_right(self._positions, after + 1) - 1, 0)
        return index if self.log_head() > after else len(self._log)

    def head(self, stream: str) -> StreamInfo | None:
        """See :class:`~refold.ports.Backend`."""
        with self._lock():
            found = self._streams.get(stream)
            if found is None:
                return None
            row = found.rows[-1]
            return StreamInfo(stream, row.last_version, found.fork, row.recorded_at)

    def log_head(self, *, reached: int = 0) -> int:  # noqa: ARG002
        """See :class:`~refold.ports.Backend`."""
        with self._lock():
            return self._log[-1].position + self._log[-1].event_count - 1 if self._log else 0

    def streams(self, *, category: str | None, after: str, streams_max: int) -> list[StreamInfo]:
        """See :class:`~refold.ports.Backend`."""
        with self._lock():
            later = sorted(name for name in self._streams if name > after)
            names = [name for name in later if category in (None, category_of(name))]
            return [info for name in names[:streams_max] if (info := self.head(name))]

    def snapshot(self, stream: str, *, fold: str, fingerprint: str, last: int) -> Snapshot | None:
        """See :class:`~refold.ports.SnapshotKeeper`."""
        with self._lock():
            kept = self._snapshots.get((stream, fold), {})
            fitting = [
                s for s in kept.values() if s.fingerprint == fingerprint and s.version <= last
            ]
            return max(fitting, key=lambda s: s.version, default=None)

    def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> None:
        """See :class:`~refold.ports.SnapshotKeeper`."""
        with self._lock():
            for taken in snapshots:
                kept = self._snapshots.setdefault((taken.stream, taken.fold), {})
                kept[taken.version] = taken

    def drop_snapshots(self) -> int:
        """See :class:`~refold.ports.SnapshotKeeper`."""
        with self._lock():
            count = sum(len(kept) for kept in self._snapshots.values())
            self._snapshots.clear()
            return count

    def replace(
        self, payloads: Mapping[int, bytes], metadata: Texts = NOTHING, shared: Texts = NOTHING
    ) -> None:
        """See :class:`~refold.ports.Eraser`."""
        new = Replacement(payloads, metadata, shared)
        new.check()
        with self._lock():
            indexes = sorted({self._index_of(position) for position in new.positions()})
            found = [(index, replaced(self._log[index], new)) for index in indexes]
            for index, row in found:
                self._put(index, row)
            for key, kept in self._keys.items():
                last = {part.position for part in kept.parts}
                if last & {row.position + row.event_count - 1 for _, row in found}:
                    self._keys[key] = kept._replace(digest=OF_REPLACED)
            streams = {row.stream for _, row in found}
            for stream, fold in [*self._snapshots]:
                if not streams.isdisjoint(self._lineage(stream)):
                    del self._snapshots[stream, fold]

    def _index_of(self, position: int) -> int:
        if not 0 < position <= self.log_head():
            raise NotFound(f"no event stands at position {position}", position=position)
        return self._index_after(position - 1)

    def _put(self, index: int, row: Row) -> None:
        stream = self._streams[row.stream]
        stream.rows[bisect_right(stream.versions, row.version) - 1] = self._log[index] = row
        text = None if row.metadata is None else str(row.metadata)
        write = self._writes[index]
        self._writes[index] = write._replace(metadata=text, body=str(row.body), tags=tags_in(text))

    def _lineage(self, stream: str) -> Iterator[str]:
        """A stream and those that it branches from."""
        yield stream
        while (fork := self._streams[stream].fork) is not None:
            yield (stream := fork.parent)

    def scrub(self, progress: Callable[[int, int], None]) -> Iterator[Check]:
        """See :class:`~refold.ports.Eraser`."""
        progress(0, 0)
        self.drop_snapshots()
        yield Check("memory", True, "what was replaced is let go of; it ends with this process")

    def write(self, work: Callable[[Begin], T]) -> T:
        """See :class:`~refold.ports.TableKeeper`."""
        self._lock()  # Refused where it is closed.
        return self._tables.write(work)

    def query(self, sql: str, values: Sequence[SqlValue] = ()) -> SelectedRows:
        """See :class:`~refold.ports.TableKeeper`."""
        self._lock()
        return self._tables.query(sql, values)

    def progress(self, projection: str) -> int | None:
        """See :class:`~refold.ports.ProgressKeeper`."""
        return progress_of(self.query, projection)

    def check(self) -> Iterator[Check]:
        """See :class:`~refold.ports.Backend`."""
        with self._lock():
            yield Check("storage", True, "in memory: nothing outlives this process")

    def close(self) -> None:
        """See :class:`~refold.ports.Backend`."""
        self._lock = _refused


def _refused() -> NoReturn:
    raise StoreClosed("the store is closed")
