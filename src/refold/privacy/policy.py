"""What may go of a log, and when: legal hold, statutory retention, erasure, default; in this order.

Pure: holds, classes and instants are arguments. A hold keeps whatever it covers; the floor of a
retention class keeps an event until its date; what was asked to go goes then; and what nobody asked
for goes when the ceiling of its class has passed.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Literal, NamedTuple

from refold.core.clock import LATEST_US, from_us, rfc3339, to_us
from refold.core.event import category_of
from refold.errors import UsageError, shown

EVERY: Final = "*"
"""The name of the class of all categories that have none of their own."""
_PERIOD: Final = re.compile(r"\s*(\d{1,4})\s*(y|mo|w|d)\s*")
_FIELDS: Final = ("floor", "ceiling", "why")
Kept = Literal["hold", "floor", "default"]
Gone = Literal["asked", "ceiling"]


class Period(NamedTuple):
    """A time by the calendar: so many months, and so many days more."""

    months: int = 0
    days: int = 0

    def __str__(self) -> str:
        years, months = divmod(self.months, 12)
        counts = (years, "y"), (months, "mo"), (self.days, "d")
        return " ".join(f"{count}{unit}" for count, unit in counts if count) or "0d"

    def after(self, us: int) -> int:
        """The instant that is so much later, in microseconds UTC; the last there is at most.

        Of a day that its month has not, the last of that month.
        """
        moment = from_us(us)
        month = moment.month - 1 + self.months
        year, month = moment.year + month // 12, month % 12 + 1
        try:
            day = min(moment.day, monthrange(year, month)[1])
            return to_us(moment.replace(year=year, month=month, day=day) + timedelta(self.days))
        except (OverflowError, ValueError):
            return LATEST_US


class RetentionClass(NamedTuple):
    """How long the events of a category are kept: at least ``floor``, at most ``ceiling``.

    ``why`` says by what rule; ``name`` is the category.
    """

    name: str
    floor: Period | None = None
    ceiling: Period | None = None
    why: str = ""


class Hold(NamedTuple):
    """Nothing it covers may go: of a subject or stream (by pseudonym), or of a category."""

    name: str
    subject: str
    category: str
    reason: str
    placed_at_us: int


class Fact(NamedTuple):
    """What of an event counts here: whose it is and where, and when it was recorded.

    ``subjects`` are the pseudonyms of its subject and of its stream (a branch: its root).
    """

    subjects: Collection[str]
    category: str
    recorded_at_us: int


class Ruling(NamedTuple):
    """Whether an event goes, and why: ``hold`` names what holds it, ``until_us`` ends its floor."""

    goes: bool
    why: Kept | Gone
    hold: str | None = None
    until_us: int | None = None

    @property
    def said(self) -> str:
        """In words, why it stays."""
        match self.why:
            case "hold":
                return f"the hold {self.hold} covers it"
            case "floor":
                return f"it is kept until {rfc3339(self.until_us or 0)}"
        return "its time has not come"


def rule(
    fact: Fact,
    *,
    holds: Sequence[Hold],
    classes: Mapping[str, RetentionClass],
    asked: bool,
    now_us: int,
) -> Ruling:
    """What becomes of an event; ``asked``: somebody with a right to it wants it gone."""
    for hold in holds:
        if covers(hold, fact):
            return Ruling(False, "hold", hold=hold.name)
    kept = class_of(fact.category, classes)
    floor = kept and kept.floor and kept.floor.after(fact.recorded_at_us)
    if floor is not None and now_us < floor:
        return Ruling(False, "floor", until_us=floor)
    if asked:
        return Ruling(True, "asked")
    ceiling = kept and kept.ceiling and kept.ceiling.after(fact.recorded_at_us)
    if ceiling is not None and now_us >= ceiling:
        return Ruling(True, "ceiling")
    return Ruling(False, "default", until_us=ceiling)


def covers(hold: Hold, fact: Fact) -> bool:
    """Whether a hold is of an event."""
    is_its = bool(hold.subject) and hold.subject in fact.subjects
    return is_its or (bool(hold.category) and hold.category == fact.category)


def class_of(category: str, classes: Mapping[str, RetentionClass]) -> RetentionClass | None:
    """The class of a category: its own, else that of all; None where there is neither."""
    return classes.get(category) or classes.get(EVERY)


def category_kept_as(stream: str) -> str:
    """The category whose class a stream has; a branch is kept as long as what it is of."""
    return category_of(stream).removesuffix("~")


def read_classes(said: Mapping[str, Any]) -> dict[str, RetentionClass]:
    """The classes that settings say, by category: ``{"call": {"floor": "6y", "why": …}}``.

    Raises :class:`~refold.errors.UsageError` for what is no class, and for a floor that is longer
    than its ceiling.
    """
    return {name: _class(name, one) for name, one in said.items()}


def _class(name: str, said: Any) -> RetentionClass:
    if not isinstance(said, Mapping) or set(said) - {*_FIELDS}:
        wanted = '{floor = "6y", ceiling = "10y", why = "…"}, each of which may be left out'
        raise UsageError(f"the retention of {name} is {shown(said)}: give {wanted}")
    floor, ceiling = (_period(f"{name}.{key}", said.get(key)) for key in _FIELDS[:2])
    if floor and ceiling and ceiling.after(0) < floor.after(0):
        raise UsageError(f"{name} must be kept longer ({said['floor']}) than it may ({ceiling})")
    return RetentionClass(name, floor, ceiling, str(said.get("why", "")))


def _period(where: str, said: Any) -> Period | None:
    if said is None:
        return None
    found = _PERIOD.fullmatch(said) if isinstance(said, str) else None
    if found is None:
        raise UsageError(f"{where} is {shown(said)}: give years, months, weeks or days (6y, 18mo)")
    count, unit = int(found[1]), found[2]
    months, days = {"y": (12, 0), "mo": (1, 0), "w": (0, 7), "d": (0, 1)}[unit]
    return Period(months * count, days * count)
