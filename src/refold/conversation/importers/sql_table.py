"""A table of events in a SQLite file into a log: stream by stream, in the order of its versions.

The columns are by default those of a common event table: ``stream_id``, ``version``,
``event_type``, ``data``, ``metadata``, ``occurred_at``. What else a row has is kept with its event.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import apsw

from refold.conversation.chat_export import Loss
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers.base import ODD, Problem
from refold.conversation.importers.driver import ImportReport
from refold.conversation.importers.fields import FieldReader
from refold.core import jsonvalue
from refold.core.event import Event
from refold.core.expected import NO_STREAM
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import BackendError, InvalidEvent, RefoldError, UsageError
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

Row = dict[str, Any]


def import_table(
    store: Store,
    path: str | os.PathLike[str],
    *,
    table: str = "events",
    columns: Mapping[str, str] = {},
) -> ImportReport:
    """Import a table of events; again, it adds nothing.

    ``columns`` names the column of a field where it is another than in :data:`COLUMNS`. A stream
    comes in whole, in parts of 5,000 events, or up to the part that is refused, which is a problem
    of the report. Versions that are left out are told as losses. Raises
    :class:`~refold.errors.UsageError` for what is no SQLite file, no table in it, or no column.
    """
    name = os.fspath(path)
    report = ImportReport(format="sql")
    with closing(_opened(name)) as db:
        fields = _fields(db, table, columns)
        waiting: deque[tuple[str, int]] = deque()

        def appends() -> Iterator[Append]:
            for stream, events in _streams(db, table, fields, name, report):
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
                report.fail(Problem(name, 0, f"{stream}: {outcome.message}", stream))
            else:
                report.imported += number == 0 and not outcome.duplicate
                report.unchanged += number == 0 and outcome.duplicate
                report.events += 0 if outcome.duplicate else outcome.event_count
    return report


def _opened(name: str) -> apsw.Connection:
    if "://" in name:
        raise UsageError(
            f"a table is read from a SQLite file, not yet from {name.partition(':')[0]}: copy it "
            "into one, or write its rows to `refold append` as JSON lines",
            path=name,
        )
    if not Path(name).is_file():
        raise UsageError(f"there is no file {name}", path=name)
    where = f"file:{quote(str(Path(name).resolve()))}?mode=ro"
    return apsw.Connection(where, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)


def _fields(db: apsw.Connection, table: str, columns: Mapping[str, str]) -> dict[str, str]:
    """The column of each field that the table has."""
    if unknown := columns.keys() - COLUMNS.keys():
        known = ", ".join(COLUMNS)
        raise UsageError(f"no field {sorted(unknown)[0]!r}: give {known}", argument="columns")
    try:
        there = [row[0] for row in db.execute("SELECT name FROM pragma_table_info(?)", (table,))]
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type='table'")]
    except apsw.Error as error:
        raise UsageError(f"this is no SQLite file that can be read: {error}") from error
    if not there:
        raise UsageError(
            f"no table {table!r}: there are {', '.join(tables) or 'none'}", table=table
        )
    fields = {**COLUMNS, **columns}
    for field, column in fields.items():
        if column not in there and (field not in OPTIONAL or field in columns):
            raise UsageError(
                f"no column {column!r} for the {field}: there are {', '.join(there)}; "
                f"give --column {field}=NAME",
                column=column,
            )
    return {field: column for field, column in fields.items() if column in there}


def _streams(
    db: apsw.Connection, table: str, fields: Mapping[str, str], name: str, report: ImportReport
) -> Iterator[tuple[str, list[Event]]]:
    """Each stream of the table with its events; one that cannot be read is a problem."""
    order = ", ".join(_quoted(fields[key]) for key in ("stream", "version"))
    cursor = db.execute(f"SELECT * FROM {_quoted(table)} ORDER BY {order}")
    rows = (dict(zip(_names(cursor), row, strict=True)) for row in cursor)
    for stream, held in groupby(rows, lambda row: row[fields["stream"]]):
        try:
            yield str(stream), _events(list(held), fields, f"{name}:{stream}", report)
        except (InvalidEvent, ValueError) as error:
            report.fail(Problem(name, 0, f"{stream}: {error}", str(stream)))


def _names(cursor: apsw.Cursor) -> list[str]:
    return [column[0] for column in cursor.get_description()]


def _events(
    rows: list[Row], fields: Mapping[str, str], where: str, report: ImportReport
) -> list[Event]:
    made = []
    last: int | None = None
    for row in rows:
        version = row[fields["version"]]
        if type(version) is not int:
            raise ValueError(f"version {version!r:.40} is not a whole number")
        if version == last:
            raise ValueError(f"version {version} is there twice")
        if last is not None and version != last + 1:
            report.lose([Loss(where, f"versions {last + 1} to {version - 1} are not there", "")])
        last = version
        made.append(_event(row, fields, f"{where}@{version}", report))
    return made


def _event(row: Row, fields: Mapping[str, str], where: str, report: ImportReport) -> Event:
    if endless := [k for k, v in row.items() if isinstance(v, float) and not math.isfinite(v)]:
        raise ValueError(f"{where}: {endless[0]} is infinite, which JSON has no number for")
    known = {field: row[column] for field, column in fields.items()}
    beside = {k: v for k, v in row.items() if k not in fields.values() and type(v) is not bytes}
    odd: list[Unread] = []
    at_us = FieldReader(known, odd).time("time")
    report.lose(Loss(where, one.reason, f"/{fields['time']}") for one in odd)
    data, metadata = _json(known["data"], where), _json(known.get("metadata") or "{}", where)
    said = metadata if isinstance(metadata, dict) else {"metadata": metadata}
    kept = {key: exact(value) for key, value in {**said, "row": beside}.items()}
    return Event(str(known["type"]), exact(data), metadata=kept, occurred_at=at_us)


def _json(value: Any, where: str) -> Any:
    if isinstance(value, str | bytes):
        try:
            return jsonvalue.read(value)
        except ODD as error:
            raise ValueError(f"{where}: {value!r:.40} is not JSON: {error}") from error
    return value


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
