"""What `refold doctor` looks at in a schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from time import time
from typing import Final

import psycopg

from refold.backends.postgres.address import room_of
from refold.backends.postgres.away import DetachedMonths
from refold.backends.postgres.queries import has_projections, log_head, log_page
from refold.backends.postgres.session import ServerSession
from refold.backends.postgres.statements import FOLDER, qualified, statement
from refold.backends.postgres.waits import held, limit_locks, patient
from refold.core.canonical import digest_of, tells_of_events
from refold.core.recorded import decode_row
from refold.core.registry import Registry
from refold.errors import RefoldError
from refold.ports import Check

ROWS_PER_PAGE: Final = 1_024
CLOCKS_APART_S: Final = 60.0
"""By so much clocks may differ."""
_ANY_KIND: Final = Registry()
"""What is stored is looked at as it is, whatever a program makes of it."""
_ATTACHED: Final = "LOCK TABLE refold.log IN ACCESS SHARE MODE"
"""No month leaves meanwhile: what the log holds and what is said to have left are of one moment."""
Look = Callable[[], tuple[bool, str] | str | None]
_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


def checks(session: ServerSession, tenant: int, away: DetachedMonths) -> Iterator[Check]:
    """One line a thing looked at; reads the whole log, as it is at one moment."""
    looks: dict[str, Look] = {
        "PostgreSQL": lambda: (True, session.info.parameter_status("server_version") or ""),
        "months": lambda: _months(session, tenant, away),
        "bodies": lambda: _bodies(session, tenant),
        "digests": lambda: _digests(session, tenant),
        "tags": lambda: _tags(session, tenant),
        **{name: partial(_asked, session, tenant, asked) for name, asked in _queries().items()},
        "projections": lambda: _projections(session, tenant),
        "server clock": lambda: _clock(session),
        "size": lambda: _size(session, tenant),
    }
    # A look at all of a large log takes its time.
    with patient(session):
        yield from _looked(session, looks)


def _looked(session: ServerSession, looks: Mapping[str, Look]) -> Iterator[Check]:
    try:
        session.execute(_SNAPSHOT)
        limit_locks(session)
        session.execute(qualified(_ATTACHED, session.schema))
        for name, look in looks.items():
            try:
                with session.transaction():
                    found = look()
            except (psycopg.DatabaseError, RefoldError, ValueError, RecursionError) as error:
                if session.closed:
                    raise
                found = str(error).partition("\n")[0]
            # A look that has nothing to tell but what is wrong tells that, or nothing.
            told = found if isinstance(found, tuple) else (not found, found or "checked")
            yield Check(name, *told)
    except psycopg.errors.LockNotAvailable as error:
        session.rollback()
        raise held(session, "nothing was looked at") from error
    finally:
        if not session.closed:
            session.rollback()


def _queries() -> dict[str, list[tuple[str, str]]]:
    """The queries of the files below by the names of their checks, each with what a row tells."""
    found: dict[str, list[tuple[str, str]]] = {}
    for file in ("checks.sql", "health.sql"):
        for block in (FOLDER / file).read_text(encoding="utf-8").split("\n\n-- ")[1:]:
            heading, _, sql = block.partition("\n")
            name, _, wrong = heading.partition(": ")
            found.setdefault(name, []).append((wrong, sql))
    return found


def _asked(session: ServerSession, tenant: int, asked: Sequence[tuple[str, str]]) -> str | None:
    """What the first of some queries tells that finds a row."""
    for wrong, sql in asked:
        values = (tenant,) if "$1" in sql else ()
        row = session.execute(qualified(sql, session.schema), values).fetchone()
        if row is not None:
            return f"{wrong} {row[0]}"
    return None


def _bodies(session: ServerSession, tenant: int) -> str | None:
    """Every event can be read, and reads by type and by time find it."""
    after = 0
    while True:
        page, away = log_page(session, tenant, after, ROWS_PER_PAGE, None, None)
        if not page:
            if away is None:
                return None
            after = away.last
            continue
        types = dict(session.run("types_of_appends", tenant, page[0].position, page[-1].position))
        for row in page:
            events = decode_row(row, _ANY_KIND)
            found = [(event.data, event.metadata) for event in events]
            times = [event.occurred_at_us for event in events]
            said = {event.stored_kind.type for event in events}
            if len(found) != row.event_count or sorted(said) != types[row.position]:
                return f"other types than it says, at position {row.position}"
            if (min(times), max(times)) != row.span():
                return f"other times than it says, at position {row.position}"
            after = row.position + row.event_count - 1


def _months(session: ServerSession, tenant: int, away: DetachedMonths) -> tuple[bool, str] | None:
    """Those that were taken out are known; where their archive is given, all of it can be read."""
    told, lost = [], False
    for month, state, _, _, manifest, *holds in session.run("months", tenant):
        if state != "attached":
            _, _, first, last = holds
            where = f"{month} is {state}" + (f" (positions {first} to {last})" if first else "")
            told.append(f"{where}, {away.told(month)}")
            if state == "dropped" and manifest is None:
                told.append("it is lost: take its table from a backup")
                lost = True
    return (not lost, "; ".join(told)) if told else None


def _digests(session: ServerSession, tenant: int) -> str | None:
    """Keyed appends are the bytes that their digests were made of, which they are known by."""
    sql = statement("keyed_appends", session.schema)
    for _, parts in groupby(session.cursor().stream(sql, (tenant,)), itemgetter(0)):
        rows = list(parts)
        said, made = {row[1] for row in rows}, digest_of(row[3:] for row in rows)
        if said != {made} and all(map(tells_of_events, said)):
            return f"other bytes than were appended at {rows[0][2]}"
    return None


def _tags(session: ServerSession, tenant: int) -> str | None:
    """Their table is as metadata says, which may hold a NUL that SQL cannot read beside them."""
    sql = statement("tagged_appends", session.schema)
    for position, metadata, kept in session.cursor().stream(sql, (tenant,)):
        tags = json.loads(metadata or "{}").get("tags")
        said = sorted(set(map(str, tags))) if isinstance(tags, list) else []
        if said != (kept or []):
            return f"their table is not as the append that ends at position {position}"
    return None


def _projections(session: ServerSession, tenant: int) -> str | None:
    """None stands beyond the end of the log, as where some of it was taken away."""
    room, head = room_of(session.schema, tenant), log_head(session, tenant)
    if not has_projections(session, room):
        return None
    for name, position in session.execute(statement("beyond", room), [head]):
        made = f"`refold projections rebuild {name}` makes it anew"
        return f"{name!r} stands at position {position}, and the log ends at {head}: {made}"
    return None


def _clock(session: ServerSession) -> str | None:
    """The server's clock and this machine's agree; which of them is wrong, neither knows."""
    ((there_s,),) = session.execute("SELECT extract(epoch FROM clock_timestamp())").fetchall()
    apart_s = abs(time() - float(there_s))
    if apart_s < CLOCKS_APART_S:
        return None
    return f"it stands {apart_s:.0f} s from this machine's: let both be set by NTP"


def _size(session: ServerSession, tenant: int) -> tuple[bool, str]:
    ((events, partitions, size_bytes),) = session.run("size", tenant)
    return (True, f"{events} events, {partitions} partitions, {size_bytes} bytes of all tenants")
