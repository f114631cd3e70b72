"""Rows as events and as state: the reading half of a store."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import islice
from operator import attrgetter
from typing import Final, TypeVar

from refold.core.clock import Instant, to_us
from refold.core.event import Kind
from refold.core.expected import NO_EVENTS
from refold.core.fold import Fold, Folded
from refold.core.history import UnreadEvents
from refold.core.query import Query, QueryItem
from refold.core.recorded import Recorded, decode_row
from refold.core.registry import Registry
from refold.core.snapshot import EVENTS_BETWEEN_MIN
from refold.core.stored import Row
from refold.engine.checks import check_given, check_whole
from refold.engine.lineage import (
    EVENTS_PER_PAGE,
    LOG_ROWS_PER_PAGE,
    LOG_ROWS_PER_PAGE_MAX,
    NO_LAST,
    Stretch,
    clipped,
    last_version_occurred,
    last_version_where,
    lineage,
    rows_in,
)
from refold.engine.moments import is_in_order, position_known
from refold.engine.snapshots import Snapshots
from refold.errors import Corrupt, UsageError
from refold.ports import Backend, SnapshotKeeper, TagKeeper, WholeReader

S = TypeVar("S")

BORDER_EVENTS: Final = 16
"""At the border of a moment the next append is mostly the last that is looked at."""


class Reader:
    """Decodes what a backend holds, no further than it is asked for."""

    def __init__(self, backend: Backend, registry: Registry) -> None:
        self._backend = backend
        self._keeper = backend if isinstance(backend, SnapshotKeeper) else None
        self._whole = backend if isinstance(backend, WholeReader) else None
        self._registry = registry
        # Asked anew when the log has grown: what stands in it does not change.
        self._is_in_order = lru_cache(1)(partial(is_in_order, backend))

    def stretches(
        self,
        stream: str,
        *,
        version: int | None = None,
        position: int | None = None,
        recorded_until: Instant | None = None,
    ) -> list[Stretch]:
        """Where a stream's events stand, up to a moment (each bound inclusive)."""
        if version is not None or position is not None:
            check_whole(version=version, position=position)
        stretches = lineage(self._backend, stream)
        last = NO_LAST if version is None else version
        until_us = None if recorded_until is None else to_us(recorded_until)
        if until_us is not None and not self._is_in_order(self._backend.log_head()):
            known = position_known(self._backend, until_us)
            position, until_us = known if position is None else min(position, known), None
        if position is not None or until_us is not None:
            where = {"recorded_until": until_us, "position": position}
            last = min(last, last_version_where(self._backend, stretches, **where))
        return stretches if last == NO_LAST else clipped(stretches, first=0, last=last)

    def fold_now(self, stream: str, fold: Fold[S]) -> Folded[S]:
        """The state of a stream; at once, where it is too short for a snapshot."""
        row = None
        if self._whole is not None and isinstance(stream, str):
            row = self._whole.whole(stream, last=EVENTS_BETWEEN_MIN - 2)
        if row is not None:
            try:
                state = fold.over(fold.initial(), row, first=0, last=row.event_count - 1)
                part = row.parts()[-1]
                return Folded(state, row.event_count - 1, part.position + part.event_count - 1)
            except Corrupt:
                pass  # Read again, it is told which append it is.
        return self.fold(self.stretches(stream), fold)

    def fold(self, stretches: Sequence[Stretch], fold: Fold[S]) -> Folded[S]:
        """The state after the events of stretches, a page of rows in memory at a time.

        Starts from the newest snapshot that fits, and leaves new ones behind it.
        """
        snapshots = Snapshots(fold, self._keeper)
        state, version, position = snapshots.start(stretches)
        row: Row | None = None
        for stretch in clipped(stretches, first=version + 1, last=NO_LAST):
            version = stretch.first - 1
            while version < stretch.last:
                to_due = stretch._replace(first=version + 1, last=min(stretch.last, snapshots.due))
                for row in rows_in(self._backend, to_due):
                    first, version = version + 1, min(row.last_version, to_due.last)
                    state = self._over(state, row, fold, first=first, last=version)
                    snapshots.passed(state, row, first=first, last=version)
        snapshots.keep()
        return Folded(state, version, position if row is None else row.position_of(version))

    def fold_occurred(
        self, stretches: Sequence[Stretch], fold: Fold[S], *, until_us: int
    ) -> Folded[S]:
        """The state after those events of stretches that had occurred by an instant.

        Where events were appended in the order in which they occurred, what stands before the
        newest snapshot is found by bisection; else, and after it, every row is looked at.
        """
        snapshots = Snapshots(fold, self._keeper)
        newest = snapshots.start(stretches)
        if not snapshots.in_order or newest.version == NO_EVENTS:
            initial = Folded(fold.initial(), NO_EVENTS, 0)
            return self._occurred(stretches, fold, initial, until_us)
        tail = clipped(stretches, first=newest.version + 1, last=NO_LAST)
        if snapshots.occurred_to <= until_us:
            return self._occurred(tail, fold, newest, until_us)
        before = clipped(stretches, first=0, last=newest.version)
        whole = last_version_occurred(self._backend, before, until_us=until_us)
        folded = self.fold(clipped(before, first=0, last=whole), fold)
        border = clipped(before, first=whole + 1, last=NO_LAST)
        folded = self._occurred(border, fold, folded, until_us, in_order=True)
        return self._occurred(tail, fold, folded, until_us)

    def _occurred(
        self,
        stretches: Sequence[Stretch],
        fold: Fold[S],
        folded: Folded[S],
        until_us: int,
        *,
        in_order: bool = False,
    ) -> Folded[S]:
        """The state after those events of stretches, too, that had occurred by an instant.

        ``in_order`` of their times they end at the first row that is later. That may be several
        rows on: the times of a row that goes on after a fork are those of all its events, so that
        bisection takes it for later than its part on this branch is.
        """
        size = BORDER_EVENTS if in_order else EVENTS_PER_PAGE
        for stretch in stretches:
            for row in rows_in(self._backend, stretch, events_max=size):
                earliest, latest = row.span()
                if latest <= until_us:
                    version = min(row.last_version, stretch.last)
                    state = self._over(folded.state, row, fold, first=stretch.first, last=version)
                    folded = Folded(state, version, row.position_of(version))
                elif earliest <= until_us:
                    events = [e for e in self._within(row, stretch) if e.occurred_at_us <= until_us]
                    folded = fold.run(events, folded.state) if events else folded
                elif in_order:
                    return folded
        return folded

    def events(self, stretches: Sequence[Stretch], *, backward: bool = False) -> Iterator[Recorded]:
        """The events of stretches, oldest or newest first."""
        for stretch in reversed(stretches) if backward else stretches:
            for row in rows_in(self._backend, stretch, backward=backward):
                events = self._within(row, stretch)
                yield from reversed(events) if backward else events

    def unread(self, stretches: Sequence[Stretch]) -> UnreadEvents:
        """The same from the first version on, read when they are asked for."""

        def read(first: int, last: int) -> Iterator[Recorded]:
            return self.events(clipped(stretches, first=first, last=last))

        return UnreadEvents(read, stretches[-1].last + 1 if stretches else 0)

    def log(
        self,
        *,
        after: int,
        categories: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Recorded]:
        """The events of the whole log over a position, narrowed, in order; so many at most."""
        wanted = None if types is None else {Kind.parse(name).type for name in types}
        types = None if wanted is None else sorted(wanted)
        # No more rows than events are needed.
        rows_max = min(limit or LOG_ROWS_PER_PAGE, LOG_ROWS_PER_PAGE)
        found = (
            recorded
            for row in self._log_rows(after, categories, types, rows_max)
            for recorded in decode_row(row, self._registry)
            if recorded.position > after and (wanted is None or recorded.type in wanted)
        )
        return islice(found, limit)

    def fold_log(self, fold: Fold[S], *, after: int, categories: Sequence[str] | None) -> Folded[S]:
        """The state after the events of the whole log over a position, in order."""
        check_given(after=after)
        state, position = fold.initial(), max(after, 0)
        for row in self._log_rows(after, categories, None):
            first = row.version + max(after + 1 - row.position, 0)
            state = fold.over(state, row, first=first, last=row.last_version)
            position = row.position + row.event_count - 1
        return Folded(state, NO_EVENTS, position)

    def _log_rows(
        self,
        after: int,
        categories: Sequence[str] | None,
        types: Sequence[str] | None,
        rows_max: int = LOG_ROWS_PER_PAGE,
    ) -> Iterator[Row]:
        """The rows of the log with positions over ``after``, in order."""
        after = min(max(after, 0), NO_LAST)
        whole = categories is None and types is None
        while page := self._backend.log(
            after=after, categories=categories, types=types, rows_max=rows_max
        ):
            # Where packed streams interleave, larger pages unpack each segment fewer times.
            rows_max = min(rows_max * 2, LOG_ROWS_PER_PAGE_MAX)
            for row in page:
                last = row.position + row.event_count - 1
                if whole and not row.position <= after + 1 <= last:
                    raise Corrupt(
                        f"position {after + 1} is missing; run `refold doctor`", position=after + 1
                    )
                yield row
                after = last

    def matching(self, query: Query, *, after: int, until: int) -> Iterator[Recorded]:
        """The events of a query with positions over ``after`` up to ``until``, in order."""
        found = [self._matching_item(item, after) for item in query.items]
        last = 0
        for recorded in heapq.merge(*found, key=attrgetter("position")):
            if recorded.position > until:
                return
            if recorded.position > last:  # one event may match several items
                last = recorded.position
                yield recorded

    def fold_matching(self, query: Query, fold: Fold[S], *, position: int | None) -> Folded[S]:
        """The state after the events of a query, up to a position or the head of the log."""
        check_whole(position=position)
        head = self.log_head()
        until = head if position is None else max(min(position, head), 0)
        state = fold.run(self._counting(query, until=until)).state
        return Folded(state, NO_EVENTS, until)

    def _counting(self, query: Query, *, until: int) -> Iterator[Recorded]:
        """The events of a query; of those that are split, the parts that are of its types."""
        stored, types = query.of_stored(self._registry.upcasts), query.types
        for recorded in self.matching(stored, after=0, until=until):
            if types is None or recorded.type in types:
                yield recorded
            else:
                yield from recorded.parts(among=types)

    def _matching_item(self, item: QueryItem, after: int) -> Iterator[Recorded]:
        if not item.tags:
            for recorded in self.log(after=after, types=sorted(item.types)):
                if "~" not in recorded.stream:
                    yield recorded
            return
        if not isinstance(self._backend, TagKeeper):
            raise UsageError("this kind of store finds nothing by tags")
        while page := self._backend.tagged(item, after=after, rows_max=LOG_ROWS_PER_PAGE):
            for row in page:
                last = row.position + row.event_count - 1
                if last <= after:
                    raise Corrupt(
                        f"the tags of position {last} stand where others do; run `refold doctor`",
                        position=last,
                    )
                for recorded in decode_row(row, self._registry):
                    wanted = not item.types or recorded.type in item.types
                    if wanted and recorded.position > after:
                        yield recorded
                after = last

    def log_head(self, *, reached: int = 0) -> int:
        """The last position of the log, which had ``reached`` one; see :class:`Backend`."""
        return self._backend.log_head(reached=reached)

    def _over(self, state: S, row: Row, fold: Fold[S], *, first: int, last: int) -> S:
        """The state after a row; of appends that cannot be read it says which one it is."""
        try:
            return fold.over(state, row, first=first, last=last)
        except Corrupt:
            self._name_culprit(row)
            raise

    def _name_culprit(self, row: Row) -> None:
        """Raise for the append of a page that cannot be read."""
        version = row.version
        while version < row.last_version:
            (one,) = self._backend.rows(
                row.stream, first=version, last=version, backward=False, events_max=1
            )
            for recorded in decode_row(one, self._registry):
                recorded.metadata  # noqa: B018 - raises where it is damaged
            version = one.last_version + 1

    def _within(self, row: Row, stretch: Stretch) -> list[Recorded]:
        try:
            events = decode_row(row, self._registry)
        except Corrupt:
            self._name_culprit(row)
            raise
        return [e for e in events if stretch.first <= e.version <= stretch.last]
