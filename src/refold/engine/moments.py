"""What the log knew by an instant, where its clock went back.

``recorded_at`` never goes back along positions, so that a few rows tell what was known when. Two
things break that. An append to :data:`~refold.ports.CLOCK_STREAM` begins time again, from what the
clock says then: what stands before it was known by then, whatever its ``recorded_at`` says. And
while the clock stands behind the log's last time, ``recorded_at`` stays there: by more than a
minute it is not believed, and what the clock said of each append counts. See
``docs/decisions/0013-one-wrong-reading-of-the-clock.md``.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final

from refold.core.stored import Row
from refold.engine.lineage import LOG_ROWS_PER_PAGE
from refold.errors import Corrupt
from refold.ports import CLOCK_STREAM, Appended, Backend

BEHIND_US: Final = 60_000_000
"""How far the clock may stand behind the log's last time before anything is said of it."""


def behind(us: int) -> str:
    """That the clock stands so far behind the log, and what to do."""
    by = timedelta(microseconds=us)
    return f"the clock is {by} behind the log: if it is right, `refold doctor --restart-clock`"


def is_told_behind(stored: Appended, now: int) -> bool:
    """Warn that the clock stands behind, but for an append of another day that was repeated.

    Whether that was done. It never raises, for the append is stored.
    """
    if not stored.duplicate:
        with suppress(RuntimeWarning):
            warnings.warn(behind(stored.recorded_at_us - now), RuntimeWarning, stacklevel=6)
    return not stored.duplicate


def is_in_order(backend: Backend, head: int) -> bool:
    """Whether ``recorded_at`` tells by itself what was known when, in a log of so many events."""
    is_behind = head > 0 and _is_behind(_append_at(backend, head))
    return not is_behind and backend.head(CLOCK_STREAM) is None


def position_known(backend: Backend, until_us: int) -> int:
    """The last position that was known by an instant; 0 for none.

    Looks at few rows, but at every one that was recorded while the clock stood behind.
    """
    end = backend.log_head() + 1
    low, high = 1, end
    for turn in _appends(backend, 0, end, ["refold"]):
        if turn.stream == CLOCK_STREAM and turn.recorded_at <= until_us:
            low, high = turn.position, end
        elif turn.stream == CLOCK_STREAM:
            high = min(high, turn.position)
    known = _last_until(backend, low, high, until_us)
    last = _append_at(backend, high - 1) if known < high - 1 else None
    if last is None or last.clock_at is None or not _is_behind(last):
        return known
    # The newest reading is believed, not the times that are later than it.
    for row in _appends(backend, _last_until(backend, known + 1, high, last.clock_at), high):
        if row.clock_at is not None and row.clock_at <= until_us:
            known = row.position + row.event_count - 1
    return known


def _last_until(backend: Backend, low: int, high: int, until_us: int) -> int:
    """The last position in ``low..high - 1`` with a ``recorded_at`` up to an instant, by bisection.

    Time does not go back there. It is ``low - 1`` where there is none.
    """

    def recorded_at(position: int) -> int:
        return _append_at(backend, position).recorded_at

    return low - 1 + bisect_right(range(low, high), until_us, key=recorded_at)


def _append_at(backend: Backend, position: int) -> Row:
    """The append that holds a position."""
    found = backend.log(after=position - 1, categories=None, types=None, rows_max=1)
    if not found or not found[0].position <= position:
        raise Corrupt(f"position {position} is missing; run `refold doctor`", position=position)
    return found[0]


def _appends(
    backend: Backend, after: int, end: int, categories: Sequence[str] | None = None
) -> Iterator[Row]:
    """The appends that begin after a position and before another."""
    read = partial(backend.log, categories=categories, types=None, rows_max=LOG_ROWS_PER_PAGE)
    while page := read(after=after) if after + 1 < end else []:
        yield from (row for row in page if row.position < end)
        after = page[-1].position + page[-1].event_count - 1


def _is_behind(row: Row) -> bool:
    """Whether the clock stood so far behind that the time of an append is not believed."""
    return row.clock_at is not None and row.recorded_at - row.clock_at > BEHIND_US
