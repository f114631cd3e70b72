"""Reading streams through their branches, page by page, and finding versions by time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from math import isqrt
from typing import Final, NamedTuple

from refold.core.event import event_id
from refold.core.expected import NO_EVENTS
from refold.core.stored import Row
from refold.errors import Corrupt, NotFound, UsageError, wrong_argument
from refold.ports import Backend

EVENTS_PER_PAGE: Final = 1_024
"""In a page of a stream: larger ones cost more to make room for than the queries that they save."""
LOG_ROWS_PER_PAGE: Final = 512
LOG_ROWS_PER_PAGE_MAX: Final = 8_192
LINEAGE_MAX: Final = 1_000
"""How deep branches of branches may go."""
NO_LAST: Final = sys.maxsize
GUESSES_MAX: Final = 4
"""How often a moment is guessed before it is searched for by bisection alone."""


class Stretch(NamedTuple):
    """The part of a branch that stands in one stream: versions first..last."""

    stream: str
    first: int
    last: int


def lineage(backend: Backend, stream: str) -> list[Stretch]:
    """The stretches of a stream from its root to itself; one, unless it is a branch.

    :class:`NotFound` when it does not exist.
    """
    if not isinstance(stream, str):
        raise wrong_argument("the name of a stream", stream=stream)
    stretches: list[Stretch] = []
    name, last = stream, NO_LAST
    for _ in range(LINEAGE_MAX):
        info = backend.head(name)
        if info is None:
            raise NotFound(f"there is no stream {name!r}", stream=name)
        last = info.version if last == NO_LAST else last
        shared = NO_EVENTS if info.fork is None else info.fork.version
        if last > shared:
            stretches.append(Stretch(name, shared + 1, last))
        last = min(last, shared)
        if info.fork is None or last == NO_EVENTS:
            return stretches[::-1]
        name = info.fork.parent
    raise Corrupt(f"{stream!r} branches more than {LINEAGE_MAX} deep", stream=stream)


def check_depth(backend: Backend, parent: str) -> None:
    """Refuse a branch of ``parent`` that stands so deep that it could not be read."""
    info = backend.head(parent)
    for _ in range(LINEAGE_MAX - 1):
        if info is None or info.fork is None:
            return
        info = backend.head(info.fork.parent)
    why = f"{parent!r} stands {LINEAGE_MAX} branches deep: branch from one of its parents"
    raise UsageError(why, stream=parent)


def clipped(stretches: Sequence[Stretch], *, first: int, last: int) -> list[Stretch]:
    """The stretches narrowed to versions first..last."""
    return [
        Stretch(s.stream, max(s.first, first), min(s.last, last))
        for s in stretches
        if s.first <= last and s.last >= first
    ]


def rows_in(
    backend: Backend, stretch: Stretch, *, backward: bool = False, events_max: int = EVENTS_PER_PAGE
) -> Iterator[Row]:
    """The rows of a stretch, oldest or newest first, a page of ``events_max`` at a time."""
    stream, first, last = stretch
    while first <= last:
        page = backend.rows(
            stream, first=first, last=last, backward=backward, events_max=events_max
        )
        if not page:
            raise _missing(stream, last if backward else first)
        for row in page:
            if not row.version <= (last if backward else first) <= row.last_version:
                raise _missing(stream, last if backward else first)
            if row.version < first > stretch.first or row.last_version > last < stretch.last:
                # Packed since the last page, together with what was on it.
                left = [a for a in row.appends() if a.last_version >= first and a.version <= last]
                yield from reversed(left) if backward else left
            else:
                yield row
            first, last = (first, row.version - 1) if backward else (row.last_version + 1, last)


def _missing(stream: str, version: int) -> Corrupt:
    """The error for a hole, which is not passed over: what is missing was recorded once."""
    event = event_id(stream, version)
    return Corrupt(f"{event} is missing; run `refold doctor`", stream=stream, version=version)


class _Bounds(NamedTuple):
    """What one row tells: versions up to ``low`` are within the bounds, those over ``high`` not."""

    low: int
    high: int


def last_version_where(
    backend: Backend,
    stretches: Sequence[Stretch],
    *,
    recorded_until: int | None = None,
    position: int | None = None,
) -> int:
    """The last version recorded by an instant and standing by a position; -1 for none.

    Neither clock nor position ever goes back in a stream, so a few rows tell.
    """

    def known(row: Row, last: int) -> _Bounds:
        standing = _standing(row, recorded_until=recorded_until, position=position)
        if standing < row.version:
            return _Bounds(NO_EVENTS, standing)
        if standing < min(row.last_version, last):
            return _Bounds(standing, standing)
        return _Bounds(min(standing, last), NO_LAST)

    def share(first: Row, last: Row) -> float:
        if position is None:
            return _share(first.recorded_at, recorded_until or 0, last.recorded_at)
        return _share(first.position, position, last.position)

    return _searched(backend, stretches, known, share)


def last_version_occurred(backend: Backend, stretches: Sequence[Stretch], *, until_us: int) -> int:
    """The last version of the rows that had wholly occurred by an instant; -1 for none.

    Only for stretches whose appends stand in the order of their times.
    """

    def known(row: Row, last: int) -> _Bounds:
        if row.span()[1] <= until_us:
            return _Bounds(min(row.last_version, last), NO_LAST)
        return _Bounds(NO_EVENTS, row.version - 1)

    def share(first: Row, last: Row) -> float:
        return _share(first.span()[1], until_us, last.span()[1])

    return _searched(backend, stretches, known, share)


def _searched(
    backend: Backend,
    stretches: Sequence[Stretch],
    known: Callable[[Row, int], _Bounds],
    share: Callable[[Row, Row], float],
) -> int:
    """The last version within some bounds: guessed by ``share``, bracketed, and guessed again.

    Events mostly come at an even pace, so a guess is off by little, by about the square root of
    what is left where it is all chance: interpolation and then steps of that size (Perl and
    Reingold, 1977), here of a 64th at least, for the pace drifts. Where it is not even, steps
    double, and after ``GUESSES_MAX`` guesses it goes on by bisection. Of 20,000 appends, 5 to 12
    rows are read so and 14 by bisection alone: a fold at a position takes 0.7 to 0.95 of the time.
    """
    if not stretches:
        return NO_EVENTS
    low, high = NO_EVENTS, stretches[-1].last
    below, above = row_at(backend, stretches, stretches[0].first), row_at(backend, stretches, high)
    guesses, moved_up, step = 0, None, 0
    while low < high:
        if moved_up is None:
            looked = below.version + round(share(below, above) * (above.version - below.version))
            guesses, step = guesses + 1, max(isqrt(high - low), (high - low) // 64)
        if guesses > GUESSES_MAX or 2 * step >= high - low:
            looked = (low + high + 1) // 2
        looked = min(max(looked, low + 1), high)
        row = row_at(backend, stretches, looked)
        # A row may go on where its branch does not.
        told = known(row, _holding(stretches, looked).last)
        up = told.low >= looked
        low, high = max(low, told.low), min(high, told.high)
        below, above = (row, above) if up else (below, row)
        looked, step = (low + step if up else high - step + 1), 2 * step
        moved_up = up if moved_up in (None, up) else None
    return min(low, high)


def _share(first: int, wanted: int, last: int) -> float:
    """How far a value lies between two others, from 0 to 1."""
    return (min(max(wanted, first), last) - first) / (last - first) if last > first else 1.0


def _standing(row: Row, *, recorded_until: int | None, position: int | None) -> int:
    """The last version of a row that is within the bounds; the one before it for none."""
    version = row.version - 1
    for part in row.parts():
        if recorded_until is not None and part.recorded_at > recorded_until:
            return version
        if position is not None and part.position + part.event_count - 1 > position:
            return version + max(position - part.position + 1, 0)
        version += part.event_count
    return version


def _holding(stretches: Sequence[Stretch], version: int) -> Stretch:
    for stretch in stretches:
        if stretch.first <= version <= stretch.last:
            return stretch
    stream = stretches[-1].stream
    why = f"{event_id(stream, version)} is in no part of its history; run `refold doctor`"
    raise Corrupt(why, stream=stream, version=version)


def row_at(backend: Backend, stretches: Sequence[Stretch], version: int) -> Row:
    """The row that holds a version of stretches."""
    stream = _holding(stretches, version).stream
    page = backend.rows(stream, first=version, last=version, backward=False, events_max=1)
    if not page or not page[0].version <= version <= page[0].last_version:
        raise _missing(stream, version)
    return page[0]
