"""Ratios and verdicts of the benchmarks mean what the tables say."""

import pytest

from bench.outcome import Outcome, best_of, ratios, verdicts
from bench.plan import Ask, Entry, Target, Unit, Workload


def outcome(unit: Unit, target: Target, values: dict[str, list[float]]) -> Outcome:
    """What a workload with one target gave."""
    entries = [Entry(label, Ask(label, "append")) for label in values]
    return Outcome(Workload("w", "a workload", unit, entries, [target]), values)


def test_a_ratio_says_how_many_times_as_good() -> None:
    """More events a second and fewer seconds are better; of bytes it is the part."""
    assert ratios("events/s", [20.0], [10.0]) == [2.0]
    assert ratios("s", [10.0], [20.0]) == [2.0]
    assert ratios("bytes/event", [10.0], [20.0]) == [0.5]


def test_the_best_rival_is_the_one_with_the_best_median() -> None:
    """One lucky round does not make a rival the best, and one not measured is left out."""
    values = {"a": [1.0, 9.0, 1.0], "b": [2.0, 2.0, 2.0]}
    assert best_of("events/s", ("a", "b", "c"), values) == "b"
    assert best_of("s", ("a", "b", "c"), values) == "a"
    assert best_of("s", ("c",), values) is None


@pytest.mark.parametrize(
    ("unit", "ours", "met"),
    [
        ("events/s", [20.0, 20.0, 1.0], True),
        ("events/s", [19.0, 19.0, 90.0], False),
        ("s", [0.5, 0.5, 9.0], True),
        ("bytes/event", [20.0, 20.0, 20.0], True),
        ("bytes/event", [21.0, 21.0, 21.0], False),
    ],
)
def test_a_target_is_met_by_the_median_of_the_rounds(
    unit: Unit, ours: list[float], met: bool
) -> None:
    """A rate must be at least so many times as good, a size at most such a part."""
    against = {"events/s": 10.0, "s": 1.0, "bytes/event": 10.0}[unit]
    values = {"refold": ours, "seed": [against] * 3}
    (verdict,) = verdicts(outcome(unit, Target("refold", 2, ("seed",)), values))
    assert verdict.met is met


def test_a_target_with_nothing_to_compare_is_not_met() -> None:
    """A rival that could not be run must not make a target look reached."""
    (verdict,) = verdicts(outcome("s", Target("refold", 2, ("gone",)), {"refold": [1.0]}))
    assert (verdict.ratio, verdict.met, verdict.against) == (None, False, "gone")
