"""Bisection: which event, prompt or version first made something so, in a handful of looks.

The search is ``git bisect``'s: places stand in order, the last is so, and what lies between is
halved until one place is so and the one before it is not. That it came and went in between is not
looked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from refold.conversation.attributes import Attributes
from refold.engine.store import Store
from refold.errors import NotFound, refuse_unless
from refold.replay.checks.scoring import recorded_values
from refold.replay.checks.seen import NamedCheck, whole
from refold.replay.compare import compare
from refold.replay.decision import decisions
from refold.replay.hidden import Hidden
from refold.replay.variant import Variant

Holds = Callable[[int], bool | None]
"""Whether something is so at a place; None where that cannot be told."""


class Bisected(NamedTuple):
    """Where something became so: ``first`` of the places, counted from 0; None where it is not so.

    ``before`` is the last place before it that is not so, -1 where there is none; of those between
    the two, ``unknown``, it cannot be told. ``asked`` are the places that were looked at.
    """

    first: int | None
    before: int
    unknown: Sequence[int]
    asked: Sequence[int]


class Shared(NamedTuple):
    """Of how many that could be told something is so: ``so`` of ``told``."""

    so: int
    told: int

    def reaches(self, share: float) -> bool | None:
        """Whether it is so of that share; None where nothing could be told."""
        return self.so >= share * self.told if self.told else None


def bisect(places: int, holds: Holds) -> Bisected:
    """The first of so many places at which something holds, where it holds from there to the last.

    Each place is asked once at most: about log2 of them, and more where it cannot be told.
    """
    asked: dict[int, bool | None] = {}

    def ask(place: int) -> bool | None:
        if place not in asked:
            asked[place] = holds(place)
        return asked[place]

    high = next((place for place in reversed(range(places)) if ask(place) is not None), -1)
    if high < 0 or not ask(high):
        return Bisected(None, high, _unknown(asked, high, places), [*asked])
    low = -1
    while (place := _told_between(low, high, ask)) is not None:
        low, high = (low, place) if ask(place) else (place, high)
    return Bisected(high, low, _unknown(asked, low, high), [*asked])


def first_event(
    store: Store, stream: str, check: NamedCheck, *, holds: bool = True, version: int | None = None
) -> Bisected:
    """The version at which a check first holds of a conversation as it then was (or fails of it).

    It is looked at up to ``version``, by default the last. Where a check does not apply it does
    neither. Raises :class:`~refold.errors.NotFound` where there is no such stream, and
    :class:`~refold.errors.UsageError` where what was said is withheld from who reads, or the check
    fails.
    """
    history = Hidden(store).read(stream, version)
    if not history:
        raise NotFound(f"there is no stream {stream!r}", stream=stream)

    def is_so(place: int) -> bool:
        until = history[: place + 1]
        value = check.value(whole(stream, until, [one.action for one in decisions(until)]))
        return value is not None and (value >= 1) is holds

    return bisect(len(history), is_so)


def shared_in(
    store: Store, streams: Iterable[str], check: NamedCheck, *, holds: bool = True
) -> Shared:
    """Of how many recorded conversations a check holds (or fails), of those that it applies to.

    Raises :class:`~refold.errors.UsageError` where what was said is withheld from who reads, or the
    check fails.
    """
    values, hidden = [], Hidden(store)
    for stream in streams:
        history = hidden.read(stream)
        values.append(recorded_values(stream, history, Attributes.of(history), [check]))
    return _shared([of.get(check.metric.name) for of in values], holds)


def shared_asked(
    store: Store, streams: Iterable[str], variant: Variant, check: NamedCheck, *, holds: bool = True
) -> Shared:
    """Of how many conversations a check holds (or fails) of the answers of a replay of them.

    It holds where it does of every answer that it applies to, in all samples on average by half;
    of a conversation whose answers are not all there, that cannot be told.
    """
    found = compare(store, streams, variant, checks=[check])
    values: dict[str, list[float]] = {}
    for one in found.conversations:
        scores = [of.scores.get(check.metric.name) for of in one.decisions if not of.is_later]
        known = [score for score in scores if score is not None]
        if known and all(of.candidate is not None for of in one.decisions if not of.is_later):
            values.setdefault(one.stream, []).append(float(min(known) >= 1))
    return _shared([math.floor(fmean(of) + 0.5) for of in values.values()], holds)


def _told_between(low: int, high: int, ask: Holds) -> int | None:
    """A place between two of which it can be told, as near to the middle as there is one."""
    middle = (low + high) // 2
    for distance in range(high - low):
        for place in dict.fromkeys((middle - distance, middle + distance)):
            if low < place < high and ask(place) is not None:
                return place
    return None


def _unknown(asked: dict[int, bool | None], low: int, high: int) -> list[int]:
    return [place for place in range(low + 1, high) if asked.get(place, True) is None]


def _shared(values: Sequence[float | None], holds: bool) -> Shared:
    told = [value for value in values if value is not None]
    return Shared(sum((value >= 1) is holds for value in told), len(told))


def check_share(share: float) -> float:
    """A share over 0 and to 1."""
    refuse_unless(0 < share <= 1, "a share over 0, and 1 at most", share=share)
    return share
