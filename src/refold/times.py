"""Instants as text, what ``--at`` takes and what is printed; and what is wrong with a store's."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Final

from refold.core.clock import rfc3339, to_us
from refold.core.event import Event
from refold.core.fold import Fold
from refold.core.recorded import Recorded
from refold.engine.append import Append, appended, batch_of
from refold.engine.moments import BEHIND_US, behind
from refold.engine.store import Store
from refold.errors import RefoldError, UsageError
from refold.ports import CLOCK_STREAM, Appended, Check

__all__ = ["check_times", "clock_behind_us", "restart_clock", "rfc3339", "to_us"]

CHECKS: Final = ("time", "occurred in time")
"""What the two checks are called."""


def not_reached(
    store: Store, stream: str, *, version: int | None, position: int | None = None
) -> str | None:
    """What to say of a version of a stream, or a position of the log, that is not there yet."""
    last = store.head(stream), store.log_head()
    for name, given, there in zip(("version", "position"), (version, position), last, strict=True):
        if given is not None and given > there >= 0:
            return f"there is no {name} {given} here: the last is {there}"
    return None


def events_until(
    store: Store, stream: str, *, version: int | None, **bounds: int | None
) -> list[Recorded]:
    """The events of a stream that ``Store.fold`` would fold at these moments."""
    if bounds["recorded_until"] is not None:
        # What was known when, the store knows: its clock may have gone back.
        moment = {"version": version, "recorded_until": bounds["recorded_until"]}
        version = store.fold(stream, Fold("moment", int), **moment).version
    position, occurred = (
        inf if (bound := bounds[name]) is None else bound for name in ("position", "occurred_until")
    )
    return [
        one
        for one in store.read(stream, to_version=version)
        if one.position <= position and one.occurred_at_us <= occurred
    ]


def check_times(store: Store) -> Iterator[Check]:
    """Whether the clock stands more than a minute behind the log, and events occur after it.

    As two lines of a diagnosis. Events that were recorded in the future too are not meant: they
    have the time of the log's own clock. Clocks may differ by a minute.
    """
    now_us, found, first = store._clock(), 0, ""
    try:
        behind_us = clock_behind_us(store)
        for event in store.read_all():
            if event.occurred_at_us - BEHIND_US > max(now_us, event.recorded_at_us):
                found += 1
                first = first or f"{event.id}, at {rfc3339(event.occurred_at_us)}"
    except RefoldError:
        return  # Others say what is damaged.
    is_near = behind_us <= BEHIND_US
    yield Check(CHECKS[0], is_near, "checked" if is_near else behind(behind_us))
    advice = (
        "mend the clock of who records them; an event stays as it is, and until its time comes "
        "reads up to an instant that has passed leave it out"
    )
    told = f"{found} events say that they occur in the future, the first {first}: {advice}"
    yield Check(CHECKS[1], not found, told if found else "checked")


def clock_behind_us(store: Store) -> int:
    """How far its clock stands behind the log's last ``recorded_at``, in microseconds.

    0 where it does not. Until it has caught up, every append is recorded at that last time.
    """
    last = max((e.recorded_at_us for e in store.read_all(after=store.log_head() - 1)), default=0)
    return max(0, last - store._clock())


def restart_clock(store: Store) -> Appended:
    """Let time begin again, where one wrong reading of the clock has set the log ahead.

    Appends an event to the stream ``refold-clock``, in a commit of its own: from there on
    ``recorded_at`` is what the clock says. No event is changed, and all before it counts as known
    by then; see ``docs/how-to/keep-a-store.md``. Raises :class:`~refold.errors.UsageError` where
    the clock is not a minute behind: there is nothing to mend.
    """
    behind_us = clock_behind_us(store)
    if behind_us <= BEHIND_US:
        raise UsageError("the clock is not behind the log: there is nothing to restart")
    said = Event("clock.restarted", {"behind_us": behind_us})
    batch = batch_of(Append(CLOCK_STREAM, [said]), store.registry)
    (outcome,) = store._committer.commit([batch], now=store._clock())
    return appended(outcome)[0]
