"""What may go of a log: legal hold, statutory retention, erasure, default, in this order."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.core.clock import LATEST_US, to_us
from refold.errors import UsageError
from refold.privacy.policy import (
    Fact,
    Hold,
    Period,
    RetentionClass,
    category_kept_as,
    read_classes,
    rule,
)

DAY_US = 86_400_000_000
NAMES = st.sampled_from(["subject-1", "subject-2", "call", "chat"])
INSTANTS = st.integers(0, to_us("2060-01-01"))
PERIODS = st.none() | st.builds(Period, months=st.integers(0, 240), days=st.integers(0, 900))
HOLDS = st.lists(
    st.builds(
        Hold,
        name=st.sampled_from(["h1", "h2"]),
        subject=st.sampled_from(["", "subject-1", "subject-2"]),
        category=st.sampled_from(["", "call", "chat"]),
        reason=st.just("a claim"),
        placed_at_us=st.just(0),
    ),
    max_size=3,
)
FACTS = st.builds(
    Fact,
    subjects=st.sets(st.sampled_from(["subject-1", "subject-2"]), min_size=1),
    category=st.sampled_from(["call", "chat", "other"]),
    recorded_at_us=INSTANTS,
)
CLASSES = st.dictionaries(
    st.sampled_from(["call", "chat", "*"]),
    st.builds(RetentionClass, name=st.just(""), floor=PERIODS, ceiling=PERIODS),
)


def held(hold: Hold, fact: Fact) -> bool:
    """Whether a hold is of an event, in other words than the code's."""
    by_subject = any(hold.subject == one for one in fact.subjects if one)
    by_category = hold.category != "" and hold.category == fact.category
    return by_subject or by_category


@given(fact=FACTS, holds=HOLDS, classes=CLASSES, asked=st.booleans(), now=INSTANTS)
def test_the_order_is_hold_floor_asked_ceiling(
    fact: Fact, holds: list[Hold], classes: dict[str, RetentionClass], asked: bool, now: int
) -> None:
    """The first that applies decides, and nothing behind it does."""
    ruling = rule(fact, holds=holds, classes=classes, asked=asked, now_us=now)
    kept = classes.get(fact.category, classes.get("*", RetentionClass("")))
    holding = [one.name for one in holds if held(one, fact)]
    floor = kept.floor.after(fact.recorded_at_us) if kept.floor is not None else None
    ceiling = kept.ceiling.after(fact.recorded_at_us) if kept.ceiling is not None else None
    if holding:
        assert (ruling.goes, ruling.why, ruling.hold) == (False, "hold", holding[0])
    elif floor is not None and floor > now:
        assert (ruling.goes, ruling.why, ruling.until_us) == (False, "floor", floor)
    elif asked:
        assert (ruling.goes, ruling.why) == (True, "asked")
    elif ceiling is not None and ceiling <= now:
        assert (ruling.goes, ruling.why) == (True, "ceiling")
    else:
        assert (ruling.goes, ruling.why) == (False, "default")


@given(fact=FACTS, classes=CLASSES, asked=st.booleans(), now=INSTANTS, later=INSTANTS)
def test_what_goes_once_goes_at_any_later_time(
    fact: Fact, classes: dict[str, RetentionClass], asked: bool, now: int, later: int
) -> None:
    """Time alone never brings back what may go: a floor ends, and a ceiling stays passed."""
    first, then = (
        rule(fact, holds=[], classes=classes, asked=asked, now_us=moment)
        for moment in sorted((now, later))
    )
    assert then.goes or not first.goes


@given(us=INSTANTS, months=st.integers(0, 1_200), days=st.integers(0, 4_000))
def test_a_period_goes_by_the_calendar(us: int, months: int, days: int) -> None:
    """It never ends before as many months of 28 days, nor after as many of 31."""
    after = Period(months, days).after(us)
    least, most = (us + (months * length + days) * DAY_US for length in (28, 31))
    assert least <= after <= most


@pytest.mark.parametrize(
    ("said", "began", "ended"),
    [
        ("6y", "2026-03-01T09:00:00Z", "2032-03-01T09:00:00Z"),
        ("6mo", "2026-08-31", "2027-02-28"),
        ("1y", "2028-02-29", "2029-02-28"),
        ("2w", "2026-12-25", "2027-01-08"),
        (" 30 d ", "2026-01-31", "2026-03-02"),
    ],
)
def test_a_floor_ends_on_its_day(said: str, began: str, ended: str) -> None:
    """Years and months are those of the calendar; a day that a month has not is its last."""
    (kept,) = read_classes({"call": {"floor": said, "why": "a rule"}}).values()
    assert kept.floor is not None
    assert kept.floor.after(to_us(began)) == to_us(ended)
    assert (kept.name, kept.why, kept.ceiling) == ("call", "a rule", None)


def test_a_period_ends_with_the_calendar() -> None:
    """What would end after the year 9999 ends with it."""
    late = to_us(datetime(9990, 1, 1, tzinfo=UTC))
    assert Period(months=12 * 20).after(late) == LATEST_US
    assert Period(days=4_000).after(late) == LATEST_US


@pytest.mark.parametrize(
    "said",
    [
        {"call": "6y"},
        {"call": {"floor": 6}},
        {"call": {"floor": "6 fortnights"}},
        {"call": {"least": "6y"}},
        {"call": {"floor": "2y", "ceiling": "1y"}},
    ],
)
def test_what_is_no_class_is_refused(said: object) -> None:
    """A settings file that says something else than is meant keeps nothing in silence."""
    with pytest.raises(UsageError, match="call"):
        read_classes(said)  # type: ignore[arg-type]


def test_a_branch_is_kept_as_what_it_is_of() -> None:
    """A replay of a call is under the floor of calls."""
    assert [category_kept_as(one) for one in ("call-1", "call-1~b", "call")] == ["call"] * 3


def test_a_ruling_says_why_something_stays() -> None:
    """The hold is named, and a floor with its date."""
    fact = Fact({"subject-1"}, "call", to_us("2026-03-01"))
    hold = Hold("h-7", "subject-1", "", "a claim", 0)
    classes = read_classes({"*": {"floor": "6y", "ceiling": "7y"}})
    now = to_us("2026-04-01")
    said = rule(fact, holds=[hold], classes=classes, asked=True, now_us=now).said
    assert said == "the hold h-7 covers it"
    said = rule(fact, holds=[], classes=classes, asked=True, now_us=now).said
    assert said == "it is kept until 2032-03-01T00:00:00Z"
    said = rule(fact, holds=[], classes=classes, asked=False, now_us=to_us("2032-05-01")).said
    assert said == "its time has not come"
