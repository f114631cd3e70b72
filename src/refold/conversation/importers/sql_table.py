"""A table of events into a log: stream by stream, in the order of its versions.

The columns are by default those of a common event table: ``stream_id``, ``version``,
``event_type``, ``data``, ``metadata``, ``occurred_at``. What else a row has is kept with its event.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import groupby
from typing import Any, Final, NamedTuple

from refold.conversation.chat_export import Loss
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers.base import ODD, Problem
from refold.conversation.importers.driver import ImportReport
from refold.conversation.importers.fields import FieldReader, reason_of
from refold.conversation.importers.grown import as_recorded, difference
from refold.conversation.importers.sql_source import Row, TableSource, opened
from refold.core.event import Event
from refold.core.expected import NO_STREAM
from refold.core.jsonvalue import pointer
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import BackendError, RefoldError, Unavailable, UsageError
from refold.jsontext import exact, read

COLUMNS: Final = {
    "stream": "stream_id",
    "version": "version",
    "type": "event_type",
    "data": "data",
    "metadata": "metadata",
    "time": "occurred_at",
}
"""The column of each field, where the caller names no other."""
OPTIONAL: Final = frozenset({"metadata", "time"})
PART_EVENTS: Final = 5_000
PART_BYTES: Final = 4 * 1024 * 1024
"""How many events of a stream, and how much of their data, are held and appended at once."""
SOURCE: Final = "sql"


def import_table(
    store: Store,
    place: str | os.PathLike[str],
    *,
    table: str = "events",
    columns: Mapping[str, str] = {},
) -> ImportReport:
    """Import a table of events from a SQLite file or, by a URL, from PostgreSQL; again, it adds
    what is new.

    ``columns`` names the column of a field where it is another than in :data:`COLUMNS`. A stream
    comes in parts of at most 5,000 events, up to the part with a row that is refused, which is a
    problem of the report. Of a stream that was imported before each row must be what it was: one
    that is not is a problem, and nothing of the stream is added. Versions that are left out, and
    blobs, are told as losses. Raises :class:`~refold.errors.UsageError` for what is no SQLite
    file, a server that refuses, no table of that name, or no column, and a
    :class:`~refold.errors.BackendError` where the database is away at the start, or the store is;
    where the database goes away later the report says ``interrupted``. Importing again then does
    what is left.
    """
    report = ImportReport(format=SOURCE)
    with opened(os.fspath(place)) as source:
        reader = _TableReader(source, table, columns, report)
        waiting: deque[str] = deque()
        last = refused = ""
        for outcome in store.append_many(_appends(store, reader, report, waiting)):
            stream = waiting.popleft()
            if isinstance(outcome, BackendError):
                raise outcome
            if isinstance(outcome, RefoldError):
                if stream != refused:  # The parts behind it are refused with it.
                    reader.fail(f"{stream}: {outcome.message}", stream)
                refused = stream
                continue
            if stream != last:
                report.count(outcome)
            last = stream
            report.events += 0 if outcome.duplicate else outcome.event_count
    return report


def _appends(
    store: Store, reader: _TableReader, report: ImportReport, waiting: deque[str]
) -> Iterator[Append]:
    """What is new of each stream; ``waiting`` is told which each append is of."""
    try:
        for stream, parts in reader.streams():
            count = 0
            try:
                for append in _new(store, stream, parts):
                    count += 1
                    waiting.append(stream)
                    yield append
                report.unchanged += not count
            except ODD as error:
                reader.fail(f"{stream}: {reason_of(error)}", stream)
    except _Broken as error:
        report.interrupted = True
        reader.fail(f"nothing after this is read: {error}")


def _new(store: Store, stream: str, parts: Iterable[_Rows]) -> Iterator[Append]:
    """What of the parts of a stream the store does not have; ValueError where it has another."""
    held = store.read(stream) if store.head(stream) >= 0 else iter(())
    start, is_known = 0, store.head(stream) >= 0
    for versions, events in parts:
        append = Append(stream, events, metadata={"source": SOURCE, "origin": "imported"})
        known = 0
        for made, version, before in zip(
            as_recorded(store, append) if is_known else (), versions, held, strict=False
        ):
            known += 1
            if what := difference(before, made):
                raise ValueError(
                    f"the row of version {version} has another {what} than {before.id}: it was "
                    "changed since it was imported, or this is another stream; nothing is added"
                )
        if known < len(events):
            is_known, first = False, start + known
            expected = first - 1 if first else NO_STREAM
            key = f"import:sql:{stream}:{first}"
            yield append._replace(events=events[known:], expected=expected, key=key)
        start += len(events)
    if (more := next(held, None)) is not None and more.noted("source") == SOURCE:
        raise ValueError(f"{more.id} has no row in the table any more, which it was imported from")


def _fields(source: TableSource, table: str, columns: Mapping[str, str]) -> dict[str, str]:
    """The column of each field that the table has."""
    if unknown := columns.keys() - COLUMNS.keys():
        known = ", ".join(COLUMNS)
        raise UsageError(f"no field {sorted(unknown)[0]!r}: give {known}", argument="columns")
    there = source.columns(table)
    if not there:
        tables = ", ".join(source.tables()) or "none"
        raise UsageError(f"no table {table!r}: there are {tables}", table=table)
    fields = {**COLUMNS, **columns}
    for field, column in fields.items():
        if column not in there and (field not in OPTIONAL or field in columns):
            raise UsageError(
                f"no column {column!r} for the {field}: there are {', '.join(there)}; "
                f"give --column {field}=NAME",
                column=column,
            )
    return {field: column for field, column in fields.items() if column in there}


class _Broken(Exception):
    """The database cannot be read on."""


class _Rows(NamedTuple):
    """Some rows of a stream: the version of each, and the event that it is."""

    versions: list[int]
    events: list[Event]


class _TableReader:
    """Reads the rows of a table as events; ``report`` is told what is wrong, and what is lost."""

    def __init__(
        self, source: TableSource, table: str, columns: Mapping[str, str], report: ImportReport
    ) -> None:
        self._source, self._table, self._report = source, table, report
        self._fields = _fields(source, table, columns)
        self._columns = source.columns(table)

    def streams(self) -> Iterator[tuple[str, Iterator[_Rows]]]:
        """Each stream of the table with its rows; one that cannot be named is a problem."""
        has_numbers = False
        for said, rows in groupby(self._rows(), lambda row: row[self._fields["stream"]]):
            has_numbers |= isinstance(said, int)
            yield from self._stream(said, rows, has_numbers)

    def fail(self, why: str, stream: str | None = None) -> None:
        """Tell that a stream, or all that is left, does not come in."""
        self._report.fail(Problem(self._source.name, 0, why, stream))

    def _rows(self) -> Iterator[Row]:
        order = [self._fields["stream"], self._fields["version"]]
        try:
            yield from self._source.rows(self._table, list(self._columns), order)
        except (UsageError, Unavailable) as error:
            raise _Broken(error.message) from error

    def _stream(
        self, said: Any, rows: Iterable[Row], has_numbers: bool
    ) -> Iterator[tuple[str, Iterator[_Rows]]]:
        try:
            stream = _name(said, "stream")
            if "~" in stream:  # Read models would pass over it, as what did not happen.
                raise ValueError(f"{stream!r} cannot name a stream here: ~ names a branch")
            may_be_two = has_numbers and said == stream
            if may_be_two and self._source.has_number(self._table, self._fields["stream"], stream):
                raise ValueError("other rows have it as a number: both would be one stream")
        except ValueError as error:
            whose = f"{sum(1 for _ in rows)} rows" if said is None else said
            self.fail(f"{whose}: {error}", None if said is None else str(said))
        else:
            yield stream, self._parts(rows, f"{self._source.name}:{stream}")

    def _parts(self, rows: Iterable[Row], where: str) -> Iterator[_Rows]:
        part, size_bytes = _Rows([], []), 0
        lost: list[Loss] = []
        last: int | None = None
        for row in rows:
            version = _whole(row[self._fields["version"]])
            if version == last:
                raise ValueError(f"version {version} is there twice")
            if last is not None and version != last + 1:
                lost.append(Loss(where, f"versions {last + 1} to {version - 1} are not there"))
            last = version
            part.versions.append(version)
            part.events.append(self._event(row, f"{where}@{version}", lost))
            data = row[self._fields["data"]]
            size_bytes += len(data) if isinstance(data, str | bytes) else 0
            if len(part.events) == PART_EVENTS or size_bytes >= PART_BYTES:
                self._report.lose(lost)
                yield part
                part, size_bytes, lost = _Rows([], []), 0, []
        self._report.lose(lost)
        if part.events:
            yield part

    def _event(self, row: Row, where: str, lost: list[Loss]) -> Event:
        beside: dict[str, Any] = {}
        for column, value in row.items():
            if isinstance(value, float | Decimal) and not Decimal(value).is_finite():
                raise ValueError(f"{where}: {column} is infinite or no number, as none of JSON is")
            if column in self._fields.values():
                continue
            if isinstance(value, bytes):
                lost.append(Loss(where, f"a blob of {len(value)} bytes", pointer([column])))
            else:
                beside[column] = _json(value, where) if self._columns[column] else value
        known = {field: row[column] for field, column in self._fields.items()}
        odd: list[Unread] = []
        at_us = FieldReader(known, odd).time("time")
        lost += [Loss(where, one.reason, pointer([self._fields["time"]])) for one in odd]
        data, metadata = _json(known["data"], where), _json(known.get("metadata") or "{}", where)
        said = metadata if isinstance(metadata, dict) else {"metadata": metadata}
        if "row" in said:
            lost.append(Loss(where, "a row beside the columns", "/metadata/row"))
        kept = {key: exact(value) for key, value in {**said, "row": beside}.items()}
        kind = _name(known["type"], "type")
        return Event(kind, exact(data), metadata=kept, occurred_at=at_us)


def _name(value: Any, what: str) -> str:
    """The text that names a stream or a type; it may be a whole number."""
    if type(value) in (str, int):
        return str(value)
    raise ValueError(f"a {what} {value!r:.40} is neither text nor a whole number")


def _whole(version: Any) -> int:
    if type(version) is int or (isinstance(version, Decimal) and version == int(version)):
        return int(version)
    raise ValueError(f"version {version!r:.40} is not a whole number")


def _json(value: Any, where: str) -> Any:
    if isinstance(value, str | bytes):
        try:
            return read(value)
        except ODD as error:
            raise ValueError(f"{where}: {value!r:.40} is not JSON: {error}") from error
    return value
