"""Reading, a page at a time; each call is one statement of ``statements.sql``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from refold.backends.copied import StoredAppend
from refold.backends.postgres.session import ServerSession
from refold.backends.postgres.statements import statement
from refold.core.query import QueryItem
from refold.core.snapshot import Snapshot
from refold.core.stored import SEPARATOR, Row
from refold.errors import Corrupt
from refold.ports import Appended, Fork, Kept, StreamInfo

PAGE_BYTES_MAX: Final = 4 * 1024 * 1024
"""A page ends after the append with which it has come to so many bytes, as they are stored: large
ones compressed."""
POSITIONS_PER_LOOK: Final = 100_000
"""One statement looks through so many for what is rare among them: each is answered soon."""
LAST_POSITION: Final = (1 << 62) - 1


class DetachedRun(NamedTuple):
    """Positions side by side that left the log with a month, such as ``2026-01``."""

    first: int
    month: str
    last: int


def stream_page(
    session: ServerSession, tenant: int, stream: str, first: int, last: int, *, backward: bool
) -> list[Row]:
    """The appends of a stream that overlap two versions, from one end or the other."""
    values = (tenant, stream, first, last, PAGE_BYTES_MAX, -1 if backward else 1)
    return [Row(*row) for row in session.run("stream_page", *values)]


def whole(session: ServerSession, tenant: int, stream: str, *, last: int) -> Row | None:
    """All of a stream that is no branch and ends by a version, as one row."""
    values = (tenant, stream, last, SEPARATOR.decode(), PAGE_BYTES_MAX)
    for position, version, count, recorded_at, body, parts in session.run("whole", *values):
        place = (position, stream, version, count, recorded_at)
        return Row(*place, None, body, packed_parts=parts, joined=SEPARATOR in body)
    return None


def log_page(
    session: ServerSession,
    tenant: int,
    after: int,
    rows_max: int,
    categories: Sequence[str] | None,
    types: Sequence[str] | None,
) -> tuple[list[Row], DetachedRun | None]:
    """The appends with positions over one, narrowed, up to the next that may be detached."""
    wanted = [None if names is None else list(names) for names in (categories, types)]
    after = min(after, LAST_POSITION)
    ends = LAST_POSITION if wanted == [None, None] else after + POSITIONS_PER_LOOK
    while True:
        values = (tenant, after, rows_max, *wanted, PAGE_BYTES_MAX, ends)
        found = session.run("log_page", *values)
        rows = [Row(*row) for row in found if row[6] is not None]
        away = None if len(rows) == len(found) else DetachedRun(*found[-1][:3])
        if found or ends >= LAST_POSITION or ends >= log_head(session, tenant):
            return rows, away
        after, ends = ends, ends + POSITIONS_PER_LOOK


def tagged_page(
    session: ServerSession, tenant: int, item: QueryItem, after: int, rows_max: int
) -> list[Row | int]:
    """The appends with the tags of an item over a position; of a detached one its last position."""
    tag, *others = item.tags
    wanted = (tag, sorted(item.types) or None, others)
    values = (tenant, min(max(after, 0), LAST_POSITION), rows_max, *wanted, PAGE_BYTES_MAX)
    found = session.run("tagged_page", *values)
    return [row[0] if row[6] is None else Row(*row) for row in found]


def heads(session: ServerSession, tenant: int, names: Sequence[str]) -> list[StreamInfo]:
    """Those of some streams that exist."""
    return [_stream_info(row) for row in session.run("heads", tenant, list(names))]


def streams_page(
    session: ServerSession, tenant: int, category: str | None, after: str, streams_max: int
) -> list[StreamInfo]:
    """Streams in order of name."""
    found = session.run("streams_page", tenant, after, streams_max, category)
    return [_stream_info(row) for row in found]


def log_end(session: ServerSession, tenant: int) -> tuple[int, int]:
    """The last position of the log, and when its commit was recorded; 0 and 0 where it is empty."""
    return next(iter(session.run("log_end", tenant)), (0, 0))


def log_head(session: ServerSession, tenant: int) -> int:
    """The last position of the log."""
    return log_end(session, tenant)[0]


def kept_under(session: ServerSession, tenant: int, keys: Sequence[str]) -> dict[str, Kept]:
    """What appends under keys stored, where there is one."""
    found: dict[str, Kept] = {}
    for key, *place, digest in session.run("kept", tenant, list(keys)):
        found.setdefault(key, Kept([], digest)).parts.append(Appended._make(place))
    return found


def stored_appends(
    session: ServerSession, tenant: int, after: int
) -> tuple[list[StoredAppend], DetachedRun | None]:
    """The next appends that begin after a position, as stored, up to the next that are detached."""
    found = session.run("stored_appends", tenant, after)
    page = [StoredAppend(*row) for row in found if row[6] is not None]
    return page, None if len(page) == len(found) else DetachedRun(*found[-1][:3])


def latest_snapshot(
    session: ServerSession, tenant: int, stream: str, *, fold: str, fingerprint: str, last: int
) -> Snapshot | None:
    """The newest snapshot of a fold at or before a version."""
    found = session.run("snapshot", tenant, stream, fold, fingerprint, min(last, LAST_POSITION))
    return Snapshot(stream, fold, fingerprint, *found[0]) if found else None


def save_snapshots(session: ServerSession, tenant: int, snapshots: Sequence[Snapshot]) -> None:
    """Keep snapshots, and drop those that an older fold of the same name left."""
    first = snapshots[0]
    with session.transaction():
        session.run("drop_stale", tenant, first.stream, first.fold, first.fingerprint)
        for taken in snapshots:
            session.run("save_snapshot", tenant, *taken)


def drop_snapshots(session: ServerSession, tenant: int) -> int:
    """Forget all of them; how many there were."""
    ((count,),) = session.run("drop_snapshots", tenant)
    return int(count)


def sizes(session: ServerSession) -> list[tuple[Any, ...]]:
    """The parts of a schema, the largest first: name, bytes, events where it holds any."""
    return session.run("sizes")


def progress(session: ServerSession, room: str, projection: str) -> int | None:
    """Where the rows of a projection stand, in a schema; None where it was never started."""
    if not has_projections(session, room):
        return None
    ((position,),) = session.execute(statement("progress", room), [projection])
    return None if position is None else int(position)


def has_projections(session: ServerSession, room: str) -> bool:
    """Whether any was ever kept in a schema."""
    return session.execute(statement("has_projections", room)).fetchall() == [(1,)]


def _stream_info(row: tuple[Any, ...]) -> StreamInfo:
    name, version, parent, fork_version, recorded_at = row
    if (parent is None) != (fork_version is None):
        raise Corrupt(f"the branch {name!r} is half a branch; run `refold doctor`", stream=name)
    fork = None if parent is None else Fork(parent, fork_version)
    return StreamInfo(name, version, fork, recorded_at)
