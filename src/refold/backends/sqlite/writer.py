"""Appending: one guarded statement a commit, from cached heads.

The statement inserts only while the last row of the log is the one that the writer knows; when
another process has written since, nothing is inserted, the caches are filled again and the plan is
made anew. New streams and kinds come with the rows, through the view ``appending``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import apsw

from refold.backends.plan import Known, Needs, Place, Plan, needs, plan
from refold.backends.sqlite import tags
from refold.backends.sqlite.compression import frames_of
from refold.backends.sqlite.errors import DRIVER_ERRORS, commit_error
from refold.backends.sqlite.file import rows_of, shaped
from refold.backends.sqlite.place import FilePlace, gone
from refold.backends.sqlite.queries import LAST_ROW, kept_under
from refold.backends.sqlite.statements import ALONE, COLUMNS, NEW_COLUMNS, insert_of
from refold.backends.sqlite.undo import is_undone
from refold.backends.tables import SqlTransaction
from refold.backends.transaction import transacted
from refold.core.encode import span_of
from refold.core.event import category_of
from refold.core.expected import ANY
from refold.core.query import Condition
from refold.errors import Corrupt, OutcomeUnknown, RefoldError, Unavailable
from refold.ports import Appended, Batch, Beside, Outcome, Write

RACES_MAX: Final = 100
"""How often a commit is planned again after losing a race with another process."""
RACES_BEFORE_LOCKING: Final = 3
STREAMS_CACHED_MAX: Final = 100_000
MASKS_CACHED_MAX: Final = 10_000
ROWS_PER_STATEMENT_MAX: Final = 256

_HEADS: Final = """
SELECT name, id, coalesce(
    (SELECT version + count - 1 FROM log WHERE stream = streams.id ORDER BY version DESC LIMIT 1),
    packed_version, fork_version, -1
) FROM streams WHERE name IN (SELECT value FROM json_each(?))"""
_NEXT_STREAM: Final = "SELECT ifnull(max(id), 0) + 1 FROM streams"
_NO_STREAM: Final = (None,) * 4
_NO_SPAN: Final = (None, None)


class _KeyTaken(Exception):
    """A key of this commit is already in the log."""


class Writer:
    """The one connection that writes. Not for several threads at once."""

    def __init__(self, connection: apsw.Connection, place: FilePlace) -> None:
        self._connection = connection
        self._frames = frames_of(connection)
        self._place, self._path = place, place.path
        self._stream_ids: dict[str, int] = {}
        self._versions: dict[str, int] = {}
        self._types: dict[str, int] = {}
        self._masks: dict[tuple[str, ...], int] = {}
        self._last_position: int | None = None
        self._next_position = 1
        self._first = 1  # the first position of the commit that is being made
        self._next_stream = 1
        self._recorded_at = 0
        self._stale = True

    def commit(
        self, batches: Sequence[Batch], *, now: int, beside: Beside | None = None
    ) -> list[Outcome]:
        """Store batches in order; see :class:`~refold.ports.Backend`."""
        if not batches:
            return []
        writes, key, digest, condition = batches[0]
        stream, expected, kinds, metadata, body, _, occurred, _ = writes[0]
        head, mask = self._versions.get(stream), self._masks.get(kinds)
        is_alone = len(batches) == len(writes) == 1 and condition is None and beside is None
        if not is_alone or head is None or mask is None or expected not in (ANY, head):
            return self._commit_group(batches, now, beside)
        # In a transaction: an interrupt came between a failure and its rollback.
        if self._stale or self._connection.in_transaction or now < self._recorded_at:
            return self._commit_group(batches, now, beside)
        # One append of known kinds to one known stream takes no plan.
        position, version, count = self._next_position, head + 1, len(kinds)
        self._first = position
        self._stale = True  # until it is known what became of this attempt
        place = position, self._stream_ids[stream], version, count, now, mask
        span = _NO_SPAN if occurred is None else span_of(occurred, now)
        values = (*place, key, digest or None, metadata, body, *span, self._last_position)
        try:
            self._connection.execute(ALONE, values)
            stored = self._connection.changes() > 0
        except apsw.ConstraintError:
            stored = False  # Its key is taken, for one: a plan finds out.
        except DRIVER_ERRORS as error:
            raise self._named(error, batches) from error
        if not stored:
            return self._commit_group(batches, now, beside)
        self._versions[stream] = head + count
        self._last_position, self._next_position = position, position + count
        self._recorded_at = now
        self._place.told = position + count - 1
        self._stale = False
        return [[Appended(stream, head + count, position + count - 1, count, now)]]

    def _commit_group(
        self, batches: Sequence[Batch], now: int, beside: Beside | None
    ) -> list[Outcome]:
        try:
            if beside is None:
                return self._commit_planned(batches, now)
            return self._commit_beside(batches, now, beside)
        except DRIVER_ERRORS as error:
            raise self._named(error, batches) from error

    def _named(self, error: Exception, batches: Sequence[Batch]) -> RefoldError:
        """What callers are told of a commit that failed: that it is undone, where that is so."""
        named = commit_error(error, self._path)
        if not isinstance(named, OutcomeUnknown):
            return named
        if not is_undone(self._connection, batches, position=self._first):
            return named
        reason = f"writing {self._path} failed ({error}); nothing was written"
        return Unavailable(reason, path=str(self._path))

    def _commit_planned(self, batches: Sequence[Batch], now: int) -> list[Outcome]:
        wanted = needs(batches)
        look_up_keys = False
        for race in range(RACES_MAX):
            stale = self._begun()
            locks = race >= RACES_BEFORE_LOCKING
            attempt = (batches, wanted, now, look_up_keys, stale or locks)
            try:
                # A large commit would lose to small ones for ever: at last it plans under the lock.
                if locks:
                    outcomes = transacted(self._connection, self._attempted, *attempt)
                else:
                    outcomes = self._attempted(*attempt)
            except _KeyTaken as taken:
                if look_up_keys and locks:
                    raise Corrupt(
                        f"{self._path} knows a key that it cannot find; run `refold doctor`",
                        path=str(self._path),
                    ) from taken
                look_up_keys = True
                continue
            if outcomes is not None:
                self._place.told, self._stale = self._next_position - 1, False
                return outcomes
        raise Unavailable(f"lost {RACES_MAX} races with other writers; nothing was written")

    def _attempted(
        self, batches: Sequence[Batch], wanted: Needs, now: int, look_up_keys: bool, recalls: bool
    ) -> list[Outcome] | None:
        """One attempt to plan and store; None where another writer came first."""
        if recalls:
            self._recall()
        self._first = self._next_position
        planned = plan(batches, self._known(wanted, look_up_keys=look_up_keys))
        # A repeated append fails its expected version: its key has the answer.
        if not look_up_keys and planned.refuses_a_key(batches):
            raise _KeyTaken
        return self._stored(planned, now)

    def _commit_beside(self, batches: Sequence[Batch], now: int, beside: Beside) -> list[Outcome]:
        work = (batches, now, beside, self._begun())
        outcomes = transacted(self._connection, self._all_beside, *work)
        self._place.told, self._stale = self._next_position - 1, False
        return outcomes

    def _all_beside(
        self, batches: Sequence[Batch], now: int, beside: Beside, recalls: bool
    ) -> list[Outcome]:
        if recalls or not self._is_current():
            self._recall()
        self._first = self._next_position
        tables = SqlTransaction(self._connection)
        beside.begin(tables, after=self._first - 1)
        outcomes = [self._stored_beside(batch, now, tables, beside) for batch in batches]
        beside.end(tables, position=self._next_position - 1)
        return outcomes

    def _stored_beside(
        self, batch: Batch, now: int, tables: SqlTransaction, beside: Beside
    ) -> Outcome:
        # Nobody else writes now: what is looked up here still holds when it is stored.
        planned = plan([batch], self._known(needs([batch]), look_up_keys=True))
        first, moment = self._next_position, planned.moment(now, self._recorded_at)
        rows = [place.row(first, *moment) for place in planned.places]
        self._connection.execute("SAVEPOINT append")
        outcomes = self._stored(planned, now)
        if outcomes is None:
            raise Corrupt(f"{self._path} was written while it was locked", path=str(self._path))
        refusal = beside.add(tables, rows) if rows else None
        if refusal is not None:
            self._connection.execute("ROLLBACK TO append")
            self._recall()
        self._connection.execute("RELEASE append")
        return outcomes[0] if refusal is None else refusal

    def undo(self) -> None:
        """Leave what an interrupt has kept from being undone, between a failure and its end."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _begun(self) -> bool:
        """Start an attempt; whether what is cached may not be what is stored."""
        stale, self._stale = self._stale, True  # until it is known what became of this attempt
        self.undo()
        return stale

    def _known(self, wanted: Needs, *, look_up_keys: bool) -> Known:
        """What a plan needs; nothing can come between: the insert is guarded.

        Keys are looked up where the insert has met a taken one: there it costs nothing.
        """
        missing = wanted.streams.difference(self._versions)  # A set less a view walks the view.
        if missing:
            found = rows_of(self._connection, _HEADS, json.dumps(list(missing)))
            for stream, number, version in shaped(found, str, int, int):
                self._stream_ids[stream], self._versions[stream] = number, version
        keys = wanted.keys if look_up_keys else set()
        kept = {key: kept for key in keys if (kept := kept_under(self._connection, key))}
        broken = {one: self._found_after(one) for one in wanted.conditions}
        by_condition = {one: position for one, position in broken.items() if position is not None}
        return Known(self._next_position - 1, self._versions, kept, by_condition)

    def _found_after(self, condition: Condition) -> int | None:
        query, after = condition
        look = partial(tags.found_after, self._connection, self._frames, self._types, after)
        return next((found for found in map(look, query.items) if found is not None), None)

    def _stored(self, planned: Plan, now: int) -> list[Outcome] | None:
        """Store what was planned; None where the log is not what the plan was made on."""
        first, moment = self._next_position, planned.moment(now, self._recorded_at)
        places = planned.places
        try:
            if not places:
                stored = self._is_current()
            elif len(places) <= ROWS_PER_STATEMENT_MAX:
                stored = self._insert(places, moment)
            else:
                one = self._connection.in_transaction
                insert = partial(self._insert_many, places, moment)
                stored = insert() if one else transacted(self._connection, insert)
        except apsw.ConstraintError as error:
            if "log.key" in str(error):
                raise _KeyTaken from error
            raise
        if not stored:
            return None
        if places:
            self._recorded_at = moment[0]
        self._versions.update(planned.heads)
        self._next_position += planned.event_count
        if len(self._versions) > STREAMS_CACHED_MAX:
            self._forget_streams()
        return planned.outcomes(first, moment[0])

    def _insert_many(self, places: Sequence[Place], moment: tuple[int, int | None]) -> bool:
        stored = self._is_current()
        if stored:
            for start in range(0, len(places), ROWS_PER_STATEMENT_MAX):
                self._insert(places[start : start + ROWS_PER_STATEMENT_MAX], moment)
        return stored

    def _insert(self, places: Sequence[Place], moment: tuple[int, int | None]) -> bool:
        """Store rows, with the streams and kinds that are new, in one statement."""
        new_kinds = self._numbered_kinds(places)
        new_streams = [self._numbered_stream(place.write) for place in places]
        is_plain = new_kinds is None and not any(new_streams)
        values: list[Any] = []
        recorded_at, clock_at = moment
        for (write, offset, version, key, digest), new_stream in zip(
            places, new_streams, strict=True
        ):
            stream, _, kinds, metadata, body, _, occurred, _ = write
            place = self._next_position + offset, self._stream_ids[stream], version, len(kinds)
            mask = self._masks.get(kinds) or self._mask(kinds)
            values += (*place, recorded_at, mask, key, digest or None, metadata, body)
            values += (*span_of(occurred, recorded_at, clock_at), clock_at)
            if not is_plain:
                values += (new_kinds, *(new_stream or _NO_STREAM))
                new_kinds = None  # with the first row alone
        count = 1 << (len(places) - 1).bit_length()  # few distinct statements, so all stay cached
        columns = COLUMNS if is_plain else COLUMNS + NEW_COLUMNS
        values += [None] * (columns * (count - len(places)))
        values.append(self._last_position)
        before = self._connection.total_changes()
        self._connection.execute(insert_of(count, columns), values)
        is_stored = self._connection.total_changes() != before
        self._last_position = self._next_position + places[-1].offset if is_stored else -1
        return is_stored

    def _forget_streams(self) -> None:
        self._stream_ids.clear()
        self._versions.clear()

    def _recall(self) -> None:
        """Fill the caches anew: another process wrote, or a commit failed."""
        self._forget_streams()
        self._masks.clear()
        # The last row first: whatever is written between the two then fails the guard on it.
        last = shaped(rows_of(self._connection, LAST_ROW), int, int, int)
        kinds = rows_of(self._connection, "SELECT id, tag FROM types")
        self._types = {tag: number for number, tag in shaped(kinds, int, str)}
        ((self._next_stream,),) = rows_of(self._connection, _NEXT_STREAM)
        self._last_position, count, self._recorded_at = last[0] if last else (None, 1, 0)
        self._next_position = (self._last_position or 0) + count
        if self._next_position <= self._place.told:
            ends = f"ends at {self._next_position - 1}, where {self._place.told} was stored here"
            raise gone(self._path, f"made a log that {ends}")

    def _is_current(self) -> bool:
        last = rows_of(self._connection, LAST_ROW)
        return (last[0][0] if last else None) == self._last_position

    def _numbered_kinds(self, places: Sequence[Place]) -> str | None:
        """Give the kinds that are new their numbers; these as JSON pairs, None for none."""
        new = set[str]().union(*[place.write.kinds for place in places]).difference(self._types)
        pairs = list(enumerate(sorted(new), start=len(self._types)))
        self._types.update((kind, number) for number, kind in pairs)
        return json.dumps(pairs) if pairs else None

    def _numbered_stream(self, write: Write) -> tuple[str, str, str | None, int | None] | None:
        """Give a stream that is new its number; what its row says beside, None for a known one."""
        if write.stream in self._stream_ids:
            return None
        self._stream_ids[write.stream] = self._next_stream
        self._next_stream += 1
        parent, version = write.fork or (None, None)
        return write.stream, category_of(write.stream), parent, version

    def _mask(self, kinds: tuple[str, ...]) -> int:
        mask = self._masks.get(kinds)
        if mask is None:
            if len(self._masks) >= MASKS_CACHED_MAX:
                self._masks.clear()
            mask = self._masks[kinds] = tags.mask_of([self._types[kind] for kind in set(kinds)])
        return mask
