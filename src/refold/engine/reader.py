"""Rows as events and as state: the reading half of a store."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NoReturn, TypeVar

from refold.core.clock import Instant, to_us
from refold.core.event import Kind
from refold.core.expected import NO_EVENTS
from refold.core.fold import Fold, Folded
from refold.core.history import Unread
from refold.core.query import Query, QueryItem
from refold.core.recorded import Recorded
from refold.core.registry import Registry
from refold.core.row import Row, corrupt, decode_row
from refold.core.snapshot import Reached
from refold.core.stepper import Stepper, stepper_of
from refold.engine.checks import check_whole
from refold.engine.reading import (
    LOG_ROWS_PER_PAGE,
    LOG_ROWS_PER_PAGE_MAX,
    NO_LAST,
    Segment,
    backward,
    bodies,
    clipped,
    forward,
    last_version_occurred,
    last_version_where,
    lineage,
)
from refold.engine.snapshots import NoSnapshots, snapshots_for
from refold.errors import Corrupt
from refold.ports import Backend

S = TypeVar("S")

BORDER_ROWS: Final = 2
"""At the border of a moment the next row is mostly the last that is looked at."""


class Reader:
    """Decodes what a backend holds, no further than it is asked for."""

    def __init__(self, backend: Backend, registry: Registry) -> None:
        self._backend = backend
        self._registry = registry

    def segments(
        self,
        stream: str,
        *,
        version: int | None = None,
        position: int | None = None,
        recorded_until: Instant | None = None,
    ) -> list[Segment]:
        """Where a stream's events stand, up to a moment (each bound inclusive)."""
        check_whole(version=version, position=position)
        segments = lineage(self._backend, stream)
        last = NO_LAST if version is None else version
        if position is not None or recorded_until is not None:
            until_us = None if recorded_until is None else to_us(recorded_until)
            known = last_version_where(
                self._backend, segments, recorded_until=until_us, position=position
            )
            last = min(last, known)
        return clipped(segments, first=0, last=last)

    def fold(self, segments: Sequence[Segment], fold: Fold[S]) -> Folded[S]:
        """The state after the events of segments, a page of rows in memory at a time.

        Starts from the newest snapshot that fits, and leaves new ones behind it.
        """
        stepper, snapshots = stepper_of(fold), snapshots_for(self._backend, fold)
        reached = snapshots.start(segments)
        if not segments or snapshots.due > segments[-1].last:
            return self._hurried(segments, stepper, reached.folded)
        return self._leaving_snapshots(segments, stepper, snapshots, reached)

    def fold_occurred(
        self, segments: Sequence[Segment], fold: Fold[S], *, until_us: int
    ) -> Folded[S]:
        """The state after those events of segments that had occurred by an instant.

        Where events were appended in the order in which they occurred, what stands before the
        newest snapshot is found by bisection; else, and after it, every row is looked at.
        """
        newest = snapshots_for(self._backend, fold).start(segments)
        if not newest.in_order or newest.folded.version == NO_EVENTS:
            initial = Folded(fold.initial(), NO_EVENTS, 0)
            return self._occurred(segments, fold, initial, until_us)
        tail = clipped(segments, first=newest.folded.version + 1, last=NO_LAST)
        if newest.occurred_to <= until_us:
            return self._occurred(tail, fold, newest.folded, until_us)
        before = clipped(segments, first=0, last=newest.folded.version)
        whole = last_version_occurred(self._backend, before, until_us=until_us)
        folded = self.fold(clipped(before, first=0, last=whole), fold)
        border = clipped(before, first=whole + 1, last=NO_LAST)
        folded = self._occurred_on_border(border, fold, folded, until_us)
        return self._occurred(tail, fold, folded, until_us)

    def _leaving_snapshots(
        self,
        segments: Sequence[Segment],
        stepper: Stepper[S],
        snapshots: NoSnapshots[S],
        reached: Reached[S],
    ) -> Folded[S]:
        state, version, position = reached.folded
        row: Row | None = None
        for segment in clipped(segments, first=version + 1, last=NO_LAST):
            for row in forward(self._backend, [segment]):
                first, last = segment.first, min(row.last_version, segment.last)
                if snapshots.due < last:
                    with self._naming_culprit(row):
                        events = stepper.decoded(row)
                    while snapshots.due < last:  # Stop on the way, where a snapshot is due.
                        version = max(snapshots.due, row.version, first)
                        state = stepper.run(state, events, row, first=first, last=version)
                        reached = reached.past(row, first=first, last=version)
                        folded = Folded(state, version, row.position_of(version))
                        snapshots.passed(segment.stream, reached._replace(folded=folded))
                        first = version + 1
                    state = stepper.run(state, events, row, first=first, last=last)
                else:
                    with self._naming_culprit(row):
                        state = stepper.apply(state, row, first=first, last=last)
                reached = reached.past(row, first=first, last=last)
                version = last
        snapshots.keep()
        position = row.position_of(version) if row else position
        return Folded(state, version, position)

    def _hurried(
        self, segments: Sequence[Segment], stepper: Stepper[S], folded: Folded[S]
    ) -> Folded[S]:
        """The state after the rest of segments, where no snapshot is to be left on the way.

        What does not go straight to the state is read again, with all that is known of it.
        """
        state, version, position = folded
        rows = forward if stepper.wants_recorded else bodies
        for segment in clipped(segments, first=version + 1, last=NO_LAST):
            for row in rows(self._backend, [segment]):
                first, last = segment.first, min(row.last_version, segment.last)
                state, reached = stepper.hurried(state, row, first=first, last=last)
                if reached is None:
                    self._say_what_is_wrong(row)
                if reached != row.last_version + 1:
                    rest = clipped([segment], first=reached, last=last)
                    state = self._in_full(rest, stepper, state, is_begun=reached > row.version)
                version, position = last, row.position_of(last)
        return Folded(state, version, position)

    def _in_full(
        self, segments: Sequence[Segment], stepper: Stepper[S], state: S, *, is_begun: bool
    ) -> S:
        """The state after segments whose rows are read with all that is known of them.

        With ``is_begun`` an append must begin where they do: else what came before was damaged.
        """
        for segment in segments:
            for row in forward(self._backend, [segment]):
                if is_begun and not row.begins(segment.first):
                    raise corrupt(row, f"no append begins at version {segment.first}")
                with self._naming_culprit(row):
                    state = stepper.apply(state, row, first=segment.first, last=segment.last)
                is_begun = False
        return state

    def _occurred(
        self, segments: Sequence[Segment], fold: Fold[S], folded: Folded[S], until_us: int
    ) -> Folded[S]:
        for segment in segments:
            for row in forward(self._backend, [segment]):
                folded = self._occurred_in(row, segment, fold, folded, until_us)
        return folded

    def _occurred_on_border(
        self, segments: Sequence[Segment], fold: Fold[S], folded: Folded[S], until_us: int
    ) -> Folded[S]:
        """Of segments in order of their times, what had occurred; ends at the first that is later.

        That may be several rows: the times of a row that goes on after a fork are those of all
        its events, so that bisection takes it for later than its part on this branch is.
        """
        for segment in segments:
            for row in forward(self._backend, [segment], rows_max=BORDER_ROWS):
                if row.span()[0] > until_us:
                    return folded
                folded = self._occurred_in(row, segment, fold, folded, until_us)
        return folded

    def _occurred_in(
        self, row: Row, segment: Segment, fold: Fold[S], folded: Folded[S], until_us: int
    ) -> Folded[S]:
        """One row more, or those of its events that had occurred by an instant."""
        first, last = row.span()
        if first > until_us:
            return folded
        if last <= until_us:
            stepper, version = stepper_of(fold), min(row.last_version, segment.last)
            with self._naming_culprit(row):
                state = stepper.apply(folded.state, row, first=segment.first, last=segment.last)
            return Folded(state, version, row.position_of(version))
        events = [e for e in self._within(row, segment) if e.occurred_at_us <= until_us]
        return fold.run(events, folded.state) if events else folded

    def events(self, segments: Sequence[Segment]) -> Iterator[Recorded]:
        """The events of segments, oldest first."""
        for segment in segments:
            for row in forward(self._backend, [segment]):
                yield from self._within(row, segment)

    def unread(self, segments: Sequence[Segment]) -> Unread:
        """The same from the first version on, read when they are asked for."""

        def read(first: int, last: int) -> Iterator[Recorded]:
            return self.events(clipped(segments, first=first, last=last))

        return Unread(read, segments[-1].last + 1 if segments else 0)

    def events_backward(self, segments: Sequence[Segment]) -> Iterator[Recorded]:
        """The events of segments, newest first."""
        for segment in reversed(segments):
            for row in backward(self._backend, [segment]):
                yield from reversed(self._within(row, segment))

    def log(
        self,
        *,
        after: int,
        categories: Sequence[str] | None = None,
        types: Sequence[str] | None = None,
    ) -> Iterator[Recorded]:
        """The events of the whole log over a position, narrowed, in order."""
        types = None if types is None else [Kind.parse(name).type for name in types]
        for row in self._log_rows(after, categories, types):
            for recorded in decode_row(row, self._registry):
                if recorded.position > after and (types is None or recorded.type in types):
                    yield recorded

    def fold_log(self, fold: Fold[S], *, after: int, categories: Sequence[str] | None) -> Folded[S]:
        """The state after the events of the whole log over a position, in order."""
        check_whole(after=after)
        stepper, state, position = stepper_of(fold), fold.initial(), max(after, 0)
        for row in self._log_rows(after, categories, None):
            first = row.version + max(after + 1 - row.position, 0)
            state = stepper.apply(state, row, first=first, last=row.last_version)
            position = row.position + row.event_count - 1
        return Folded(state, NO_EVENTS, position)

    def _log_rows(
        self, after: int, categories: Sequence[str] | None, types: Sequence[str] | None
    ) -> Iterator[Row]:
        """The rows of the log with positions over ``after``, in order."""
        after = min(max(after, 0), NO_LAST)
        rows_max = LOG_ROWS_PER_PAGE
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
        for recorded in heapq.merge(*found, key=_position):
            if recorded.position > until:
                return
            if recorded.position > last:  # one event may match several items
                last = recorded.position
                yield recorded

    def fold_matching(self, query: Query, fold: Fold[S], *, position: int | None) -> Folded[S]:
        """The state after the events of a query, up to a position or the head of the log."""
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

    def log_head(self) -> int:
        """The last position of the log; 0 when it is empty."""
        return self._backend.log_head()

    @contextmanager
    def _naming_culprit(self, row: Row) -> Iterator[None]:
        """Of a page of appends that cannot be read, say which append it is."""
        try:
            yield
        except Corrupt:
            version = row.version
            while version < row.last_version:
                (one,) = self._backend.rows(
                    row.stream, first=version, last=version, backward=False, rows_max=1
                )
                for recorded in decode_row(one, self._registry):
                    recorded.metadata  # noqa: B018 - raises where it is damaged
                version = one.last_version + 1
            raise

    def _say_what_is_wrong(self, row: Row) -> NoReturn:
        """Raise for a row that holds more or fewer events than it says."""
        damaged = Segment(row.stream, row.version, row.last_version)
        for whole in forward(self._backend, [damaged]):
            self._within(whole, damaged)
        raise corrupt(row, f"it does not hold {row.event_count} events")

    def _within(self, row: Row, segment: Segment) -> list[Recorded]:
        with self._naming_culprit(row):
            events = decode_row(row, self._registry)
        return [e for e in events if segment.first <= e.version <= segment.last]


def _position(recorded: Recorded) -> int:
    return recorded.position
