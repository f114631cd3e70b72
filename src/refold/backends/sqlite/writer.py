"""Appending: one guarded statement a commit, from cached heads.

The statement inserts only while the last row of the log is the one that the writer knows; when
another process has written since, nothing is inserted, the caches are filled again and the plan is
made anew. New streams and kinds come with the rows, through the view ``appending``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final

import apsw

from refold.backends.plan import Plan, Planned, row_key, same_or_refused
from refold.backends.sqlite import tags
from refold.backends.sqlite.compression import Frames, dictionary_bytes
from refold.backends.sqlite.errors import DRIVER_ERRORS, commit_error, naming_commit_errors
from refold.backends.sqlite.file import rows_of, shaped, transaction
from refold.backends.sqlite.queries import LAST_ROW
from refold.backends.sqlite.undoing import is_undone, undone_error
from refold.core.encode import EVENTS_PER_APPEND_MAX, span_of
from refold.core.event import category_of
from refold.core.expected import ANY, NO_EVENTS
from refold.core.query import Query
from refold.errors import Corrupt, OutcomeUnknown, RefoldError, Unavailable, copied
from refold.ports import Batch, Committed, Kept, Placed, Write

RACES_MAX: Final = 100
"""How often a commit is planned again after losing a race with another process."""
RACES_BEFORE_LOCKING: Final = 3
STREAMS_CACHED_MAX: Final = 100_000
MASKS_CACHED_MAX: Final = 10_000
ROWS_PER_STATEMENT_MAX: Final = 256

_HEAD: Final = """
SELECT streams.id, coalesce(
    (SELECT version + count - 1 FROM log WHERE stream = streams.id ORDER BY version DESC LIMIT 1),
    packed_version, fork_version, -1
) FROM streams WHERE name = ?"""
_BY_KEY: Final = """
SELECT name, position, version, count, recorded_at, digest
FROM log JOIN streams ON streams.id = stream WHERE key = ?1
UNION ALL
SELECT name, position, version, count, recorded_at, digest
FROM keys JOIN streams ON streams.id = stream WHERE key = ?1"""
_NEXT_STREAM: Final = "SELECT ifnull(max(id), 0) + 1 FROM streams"
_NAMES: Final = (
    "position, stream, version, count, recorded_at, types, key, digest, metadata, body, "
    "occurred_from, occurred_to"
)
_NEW_NAMES: Final = "new_kinds, new_stream, new_category, new_parent, new_fork_version"
_COLUMNS: Final = 12
_NEW_COLUMNS: Final = 5
_NO_STREAM: Final = (None,) * 4
_INSERT: Final = f"INSERT INTO log ({_NAMES}) "
_INSERT_NEW: Final = f"INSERT INTO appending ({_NAMES}, {_NEW_NAMES}) "

_NO_LOCK: Final = nullcontext()


class _KeyTaken(Exception):
    """A key of this commit is already in the log."""


class Writer:
    """The one connection that writes. Not for several threads at once."""

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self._connection = connection
        self._frames = Frames(partial(dictionary_bytes, connection))
        self._path = path
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

    def commit(self, batches: Sequence[Batch], *, now: int) -> list[Committed | RefoldError]:
        """Store batches in order; see :class:`~refold.ports.Backend`."""
        if len(batches) == 1:
            return self._committed(batches, now)
        outcomes: list[Committed | RefoldError] = []
        while len(outcomes) < len(batches):
            group = _until_repeated_key(batches[len(outcomes) :])
            try:
                outcomes.extend(self._committed(group, now))
            except RefoldError as error:
                if not outcomes:
                    raise
                # Those before are stored: the failure is that of the rest alone.
                outcomes.extend(copied(error) for _ in batches[len(outcomes) :])
        return outcomes

    def _committed(self, group: Sequence[Batch], now: int) -> list[Committed | RefoldError]:
        try:
            alone = self._commit_alone(group[0], now) if len(group) == 1 else None
            if alone is not None:
                return [alone]
            with naming_commit_errors(self._path):
                return self._commit_group(group, now)
        except OutcomeUnknown as error:
            if not is_undone(self._connection, group, position=self._first):
                raise
            raise undone_error(error, self._path) from error.__cause__

    def _commit_alone(self, batch: Batch, now: int) -> Committed | None:
        """What one append of known kinds to one known stream comes to, without a plan.

        None where it takes one: it is of another sort, or refused, or another process wrote.
        """
        writes, key, digest, condition = batch
        connection = self._connection
        # In a transaction: an interrupt came between a failure and its rollback.
        if self._stale or len(writes) != 1 or condition is not None or connection.in_transaction:
            return None
        stream, expected, kinds, metadata, body, _, occurred, _ = writes[0]
        head, mask = self._versions.get(stream), self._masks.get(kinds)
        if head is None or mask is None or expected not in (ANY, head):
            return None
        last_recorded_at = self._recorded_at
        recorded_at = now if now > last_recorded_at else last_recorded_at
        position, version, count = self._next_position, head + 1, len(kinds)
        self._first = position
        self._stale = True  # until it is known what became of this attempt
        try:
            connection.execute(
                _ALONE,
                (
                    position,
                    self._stream_ids[stream],
                    version,
                    count,
                    recorded_at,
                    mask,
                    key,
                    digest or None,
                    metadata,
                    body,
                    *span_of(occurred, recorded_at),
                    self._last_position,
                ),
            )
        except apsw.ConstraintError:
            return None  # Its key is taken, for one: a plan finds out.
        except DRIVER_ERRORS as error:
            raise commit_error(error, self._path) from error
        if not connection.changes():
            return None
        self._stale = False
        self._versions[stream] = head + count
        self._last_position, self._next_position = position, position + count
        self._recorded_at = recorded_at
        return Committed((Placed(stream, position, version, count),), recorded_at)

    def _commit_group(self, batches: Sequence[Batch], now: int) -> list[Committed | RefoldError]:
        look_up_keys = False
        for race in range(RACES_MAX):
            try:
                stale = self._begun()
                locks = race >= RACES_BEFORE_LOCKING
                # A large commit would lose to small ones for ever: at last it plans under the lock.
                with transaction(self._connection) if locks else _NO_LOCK:
                    if stale or locks:
                        self._recall()
                    self._first = self._next_position
                    recorded_at = max(now, self._recorded_at)
                    plan = Plan(
                        self._head_version, self._found_after, self._next_position, recorded_at
                    )
                    outcomes = [self._outcome(plan, batch, look_up_keys) for batch in batches]
                    settled = self._is_settled(plan)
            except _KeyTaken as taken:
                if look_up_keys and race >= RACES_BEFORE_LOCKING:
                    raise Corrupt(
                        f"{self._path} knows a key that it cannot find; run `refold doctor`",
                        path=str(self._path),
                    ) from taken
                look_up_keys = True
                continue
            if settled:
                self._stale = False
                return outcomes
        raise Unavailable(f"lost {RACES_MAX} races with other writers; nothing was written")

    def _begun(self) -> bool:
        """Start an attempt; whether what is cached may not be what is stored."""
        stale, self._stale = self._stale, True  # until it is known what became of this attempt
        if self._connection.in_transaction:
            # An interrupt came between a failure and its rollback.
            self._connection.execute("ROLLBACK")
        return stale

    def _outcome(self, plan: Plan, batch: Batch, look_up_key: bool) -> Committed | RefoldError:
        known = self._by_key(batch) if look_up_key else None
        if known is not None:
            return known
        outcome = plan.place(batch)
        if isinstance(outcome, Committed):
            return outcome
        # A repeated append fails its expected version: its key has the answer.
        return self._by_key(batch) or outcome

    def _is_settled(self, plan: Plan) -> bool:
        """Whether the plan is stored and every refusal was made on what the log says now."""
        if plan.rows:
            return self._store(plan)
        return self._is_current()

    def _store(self, plan: Plan) -> bool:
        try:
            if len(plan.rows) > ROWS_PER_STATEMENT_MAX:
                stored = self._store_in_transaction(plan)
            else:
                stored = self._insert(plan.rows, plan.recorded_at)
        except apsw.ConstraintError as error:
            if "log.key" in str(error):
                raise _KeyTaken from error
            raise
        if stored:
            self._adopt(plan)
        return stored

    def _store_in_transaction(self, plan: Plan) -> bool:
        already = self._connection.in_transaction
        with _NO_LOCK if already else transaction(self._connection):
            stored = self._is_current()
            if stored:
                for start in range(0, len(plan.rows), ROWS_PER_STATEMENT_MAX):
                    self._insert(
                        plan.rows[start : start + ROWS_PER_STATEMENT_MAX], plan.recorded_at
                    )
            return stored

    def _insert(self, rows: Sequence[Planned], recorded_at: int) -> bool:
        """Store rows, with the streams and kinds that are new, in one statement."""
        new_kinds = self._numbered_kinds(rows)
        new_streams = [self._numbered_stream(row.write) for row in rows]
        is_plain = new_kinds is None and not any(new_streams)
        values: list[Any] = []
        for (write, position, version, key, digest), new_stream in zip(
            rows, new_streams, strict=True
        ):
            stream, _, kinds, metadata, body, _, occurred, _ = write
            values += (
                position,
                self._stream_ids[stream],
                version,
                len(kinds),
                recorded_at,
                self._masks.get(kinds) or self._mask(kinds),
                key,
                digest or None,
                metadata,
                body,
                *span_of(occurred, recorded_at),
            )
            if not is_plain:
                values += (new_kinds, *(new_stream or _NO_STREAM))
                new_kinds = None  # with the first row alone
        places = 1 << (len(rows) - 1).bit_length()  # few distinct statements, so all stay cached
        columns = _COLUMNS if is_plain else _COLUMNS + _NEW_COLUMNS
        values += [None] * (columns * (places - len(rows)))
        values.append(self._last_position)
        before = self._connection.total_changes()
        self._connection.execute(_statement(places, columns), values)
        is_stored = self._connection.total_changes() != before
        self._last_position = rows[-1].position if is_stored else -1
        return is_stored

    def _adopt(self, plan: Plan) -> None:
        self._versions.update(plan.heads)
        self._next_position = plan.next_position
        self._recorded_at = plan.recorded_at
        if len(self._versions) > STREAMS_CACHED_MAX:
            self._forget_streams()

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
        if last:
            self._last_position, count, self._recorded_at = last[0]
            self._next_position = last[0][0] + count
        else:
            self._last_position, self._next_position, self._recorded_at = None, 1, 0

    def _is_current(self) -> bool:
        last = rows_of(self._connection, LAST_ROW)
        return (last[0][0] if last else None) == self._last_position

    def _head_version(self, stream: str) -> int:
        version = self._versions.get(stream)
        if version is None:
            found = shaped(rows_of(self._connection, _HEAD, stream), int, int)
            if not found:
                return NO_EVENTS
            self._stream_ids[stream], version = found[0]
            self._versions[stream] = version
        return version

    def _found_after(self, query: Query, after: int) -> int | None:
        """What an append is conditional on; nothing can come between: the insert is guarded."""
        return tags.found_after(self._connection, query, self._types, self._frames, after=after)

    def _by_key(self, batch: Batch) -> Committed | RefoldError | None:
        kept = None if batch.key is None else kept_under(self._connection, batch.key)
        if kept is None:
            return None
        (placed, recorded_at, _), digest = kept
        return same_or_refused(batch, digest=digest, placed=placed, recorded_at=recorded_at)

    def _numbered_kinds(self, rows: Sequence[Planned]) -> str | None:
        """Give the kinds that are new their numbers; these as JSON pairs, None for none."""
        new = set[str]().union(*[row.write.kinds for row in rows]) - self._types.keys()
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


def kept_under(connection: apsw.Connection, key: str) -> Kept | None:
    """What an append under a key stored, each part in its place; None where there is none."""
    placed: list[Placed] = []
    recorded_at, digest = 0, b""
    for index in range(EVENTS_PER_APPEND_MAX):
        rows = rows_of(connection, _BY_KEY, row_key(key, index))
        found = shaped(rows, str, int, int, int, int, bytes)
        if not found:
            break
        stream, position, version, count, recorded_at, digest = found[0]
        placed.append(Placed(stream, position, version, count))
    return Kept(Committed(tuple(placed), recorded_at, duplicate=True), digest) if placed else None


def _until_repeated_key(batches: Sequence[Batch]) -> Sequence[Batch]:
    """The longest start of the batches in which no key stands twice."""
    seen: set[str] = set()
    for index, batch in enumerate(batches):
        if batch.key is not None:
            if batch.key in seen:
                return batches[:index]
            seen.add(batch.key)
    return batches


_ALONE: Final = (
    f"{_INSERT} SELECT {','.join('?' * _COLUMNS)} WHERE (SELECT max(position) FROM log) IS ?"
)
_statements: dict[tuple[int, int], str] = {}


def _statement(places: int, columns: int) -> str:
    """The insert of up to ``places`` rows, guarded by the last row of the log."""
    if (places, columns) not in _statements:
        row = f"({','.join('?' * columns)})"
        into = _INSERT if columns == _COLUMNS else _INSERT_NEW
        _statements[places, columns] = (
            f"{into} SELECT * FROM (VALUES {','.join([row] * places)}) "
            "WHERE column1 IS NOT NULL AND (SELECT max(position) FROM log) IS ?"
        )
    return _statements[places, columns]
