"""A table of events into a log: stream by stream, in the order of its versions.

The columns are by default those of a common event table: ``stream_id``, ``version``,
``event_type``, ``data``, ``metadata``, ``occurred_at``. What else a row has is kept with its event.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

from refold.conversation.chat_export import Loss
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers.base import ODD, Problem
from refold.conversation.importers.driver import ImportReport
from refold.conversation.importers.fields import FieldReader
from refold.conversation.importers.sql_source import Row, TableSource, opened
from refold.core import jsonvalue
from refold.core.event import Event
from refold.core.expected import NO_STREAM
from refold.core.jsonvalue import pointer
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import BackendError, RefoldError, UsageError
from refold.jsontext import exact

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
"""How many events of a stream are appended at once."""


def import_table(
    store: Store,
    place: str | os.PathLike[str],
    *,
    table: str = "events",
    columns: Mapping[str, str] = {},
) -> ImportReport:
    """Import a table of events from a SQLite file or, by a URL, from PostgreSQL; again, it adds
    nothing.

    ``columns`` names the column of a field where it is another than in :data:`COLUMNS`. A stream
    comes in whole, in parts of 5,000 events, or up to the part that is refused, which is a problem
    of the report. Versions that are left out, and blobs, are told as losses. Raises
    :class:`~refold.errors.UsageError` for what is no SQLite file, a server that cannot be had, no
    table of that name, or no column.
    """
    report = ImportReport(format="sql")
    with opened(os.fspath(place)) as source:
        reader = _TableReader(source, table, columns, report)
        waiting: deque[tuple[str, int]] = deque()

        def appends() -> Iterator[Append]:
            for stream, events in reader.streams():
                for number in range(-(-len(events) // PART_EVENTS)):
                    start = number * PART_EVENTS
                    part = events[start : start + PART_EVENTS]
                    waiting.append((stream, number))
                    key = f"import:sql:{stream}:{number}"
                    expected = start - 1 if start else NO_STREAM
                    metadata = {"source": "sql", "origin": "imported"}
                    yield Append(stream, part, expected, metadata, key)

        for outcome in store.append_many(appends()):
            stream, number = waiting.popleft()
            if isinstance(outcome, BackendError):
                raise outcome
            if isinstance(outcome, RefoldError):
                report.fail(Problem(source.name, 0, f"{stream}: {outcome.message}", stream))
            else:
                report.imported += number == 0 and not outcome.duplicate
                report.unchanged += number == 0 and outcome.duplicate
                report.events += 0 if outcome.duplicate else outcome.event_count
    return report


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


class _TableReader:
    """Reads the rows of a table as events; ``report`` is told what is wrong, and what is lost."""

    def __init__(
        self, source: TableSource, table: str, columns: Mapping[str, str], report: ImportReport
    ) -> None:
        self._source, self._table, self._report = source, table, report
        self._fields = _fields(source, table, columns)
        self._columns = source.columns(table)

    def streams(self) -> Iterator[tuple[str, list[Event]]]:
        """Each stream of the table with its events; one that cannot be read is a problem."""
        column, version = self._fields["stream"], self._fields["version"]
        rows = self._source.rows(self._table, list(self._columns), [column, version])
        try:
            for stream, held in groupby(rows, lambda row: row[column]):
                if found := self._stream(stream, list(held)):
                    yield found
        except UsageError as error:  # The database's: the streams until then are whole.
            self._fail(f"nothing after this is read: {error.message}")

    def _stream(self, said: Any, rows: list[Row]) -> tuple[str, list[Event]] | None:
        lost: list[Loss] = []
        try:
            stream = _name(said, "stream")
            if "~" in stream:  # Read models would pass over it, as what did not happen.
                raise ValueError(f"{stream!r} cannot name a stream here: ~ names a branch")
            events = self._events(rows, f"{self._source.name}:{stream}", lost)
        except ODD as error:
            whose = f"{len(rows)} rows" if said is None else said
            self._fail(f"{whose}: {error}", None if said is None else str(said))
            return None
        self._report.lose(lost)
        return stream, events

    def _fail(self, why: str, stream: str | None = None) -> None:
        self._report.fail(Problem(self._source.name, 0, why, stream))

    def _events(self, rows: list[Row], where: str, lost: list[Loss]) -> list[Event]:
        made = []
        last: int | None = None
        for row in rows:
            version = _whole(row[self._fields["version"]])
            if version == last:
                raise ValueError(f"version {version} is there twice")
            if last is not None and version != last + 1:
                lost.append(Loss(where, f"versions {last + 1} to {version - 1} are not there"))
            last = version
            made.append(self._event(row, f"{where}@{version}", lost))
        return made

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
            return jsonvalue.read(value)
        except ODD as error:
            raise ValueError(f"{where}: {value!r:.40} is not JSON: {error}") from error
    return value
