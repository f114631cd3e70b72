"""Verdicts in plain sentences, for whoever has to decide and no statistician."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from refold.replay.answer import SIDES, Verdict

EARLY: Final = "By an early look: "
ACTIONS: Final = ("same_action", "same_calls")
CHANGED: Final = "changed more than noise"
ONE_OF_MANY: Final = (
    "By itself that would be a difference; of several metrics, chance makes one look so. "
)
TOOK: Final = ("USD", "ms", "tokens")
"""The units of what an answer took."""
NOT_TOLD: Final = " do not tell it on both sides."
NOTHING: Final = "–"
"""What stands where nothing is known."""


def amount(value: float | None, unit: str) -> str:
    """A value of a metric with its unit: "2.1 %", "$0.0130", "812 ms"."""
    if value is None:
        return "unknown"
    if (told := _OF_UNIT.get(unit)) is not None:
        return told(value)
    return f"{value:,.4g} {unit}".strip().replace("-", "−")


def percent(part: float | None) -> str:
    """``72.4 %``."""
    return NOTHING if part is None else f"{_percent(part)} %"


def money(amount: Decimal | float | None) -> str:
    """US dollars: cents from a dollar on, else three significant digits."""
    if amount is None:
        return NOTHING
    exact = Decimal(str(amount))
    digits = 2 if exact == 0 or abs(exact) >= 1 else min(12, 2 - exact.adjusted())
    return f"${exact:,.{digits}f}".replace("$-", "−$")


def milliseconds(value: float | None) -> str:
    """``640 ms``, ``2.1 ms``, ``12.4 s``."""
    if value is None:
        return NOTHING
    sign, size = ("−" if value < 0 else ""), abs(value)
    if size >= 10_000:
        return f"{sign}{size / 1000:.1f} s"
    return f"{sign}{size:.0f} ms" if size >= 10 else f"{sign}{size:.1f} ms"


_OF_UNIT: Final = {"share": percent, "USD": money, "ms": milliseconds}


def apart(value: float | None, unit: str) -> str:
    """A difference of two values with its sign: that of two shares is in points."""
    if value is None:
        return "any amount"
    sign = "+" * (value > 0)
    return f"{sign}{_percent(value)} points" if unit == "share" else sign + amount(value, unit)


class Worded(NamedTuple):
    """A part of a sentence; ``of`` names the figure of a verdict that it tells, if it tells one.

    That is a side (``candidate``), ``difference`` (and how far off that can be), ``clusters`` or
    ``missing``; "" for the words between.
    """

    text: str
    of: str = ""


def plain(verdict: Verdict) -> str:
    """The answer in a sentence or two with its numbers, without a word of statistics."""
    return "".join(phrase.text for phrase in plain_phrases(verdict))


def plain_phrases(verdict: Verdict) -> list[Worded]:
    """What :func:`plain` says, in phrases: each figure is one, so that it can be made a link."""
    early = "" if verdict.is_complete or not verdict.is_answered else " so far, by an early look"
    starts = f"{verdict.answer[0].upper()}{verdict.answer[1:]}{early}: {verdict.metric.says}: "
    every = [Worded(starts), *_sides(verdict), Worded("; "), *_found(verdict)]
    *phrases, last = [phrase for phrase in every if phrase.text]
    return [*phrases, last._replace(text=last.text.rstrip(". ")), Worded(".")]


def _sides(verdict: Verdict) -> list[Worded]:
    """What the metric is with either side."""
    (one, other), unit = verdict.sides, verdict.metric.unit
    return [
        Worded(amount(verdict.candidate, unit), one),
        Worded(f" with {_side(one)}, "),
        Worded(amount(verdict.control, unit), other),
        Worded(f" with {_side(other)}"),
    ]


def _found(verdict: Verdict) -> list[Worded]:
    """The difference, and what it comes to."""
    unit, ends = verdict.metric.unit, (verdict.low, verdict.high)
    interval = Worded(f"{apart(verdict.low, unit)} to {apart(verdict.high, unit)}", "difference")
    if verdict.answer == "inconclusive":
        is_whole = unit == "share" and ends == (-1.0, 1.0)
        fits = Worded("anything") if is_whole or None in ends else interval
        sure = f", all not worse by more than {_allowed(verdict)}" * verdict.is_not_worse
        among = Worded(ONE_OF_MANY * _is_one_of_many(verdict))
        return [fits, Worded(f" would fit{sure}. "), among, *_missing_phrases(verdict)]
    noise = "it differs from itself" if verdict.sides == SIDES else "chance would have it"
    more = {
        "equivalent": f", all of it within the {_allowed(verdict)} that do not matter",
        "not worse": f", at worst within the {_allowed(verdict)} that do not matter",
        "no change seen": f", no more than {noise}",
    }
    return [
        Worded(apart(verdict.difference, unit), "difference"),
        Worded(" ("),
        interval,
        Worded(") in "),
        Worded(_clusters(verdict, verdict.clusters), "clusters"),
        Worded(more.get(verdict.answer, "")),
    ]


def _is_one_of_many(verdict: Verdict) -> bool:
    """Whether it is seen by itself, and not beside the other metrics that were looked at."""
    chance, several = 1 - verdict.confidence, verdict.adjusted_p
    return verdict.p is not None and several is not None and verdict.p <= chance < several


def nothing_known(verdict: Verdict, *, has_control: bool) -> str:
    """Why nothing can be said of a metric, and what to do."""
    if not has_control:
        return (
            f"Inconclusive: {verdict.metric.says}: nothing says how much the recorded agent "
            "differs from itself. Ask it again with nothing changed, as a control."
        )
    both = " and ".join(map(_side, verdict.sides))
    return f"Inconclusive: {verdict.metric.says}: known of no item for both {both}."


def _side(name: str) -> str:
    """A side of a comparison in a sentence: "the candidate", but "a"."""
    return f"the {name}" if len(name) > 1 else name


def ship(primary: Verdict, guardrails: Sequence[Verdict], rest: Sequence[Verdict] = ()) -> str:
    """Would you ship this? The first sentence that somebody reads.

    Of the ``rest`` it says where the candidate acts otherwise, which no other metric may hide.
    """
    asked = [primary, *guardrails]
    if not all(one.is_answered for one in asked):
        return "Do not decide yet: the run is not complete."
    early = "" if all(one.is_complete for one in asked) else EARLY
    changed = [one for one in rest if one.answer == CHANGED and one.metric.name in ACTIONS]
    return early + _shipped(primary, guardrails, changed)


def _shipped(primary: Verdict, guardrails: Sequence[Verdict], changed: Sequence[Verdict]) -> str:
    asked = [primary, *guardrails]
    worse = [one.metric.says for one in asked if one.answer == "worse"]
    open_ = [one for one in asked if one.answer == "inconclusive"]
    if worse:
        return f"Do not ship it: worse in {_list(worse)}."
    if open_:
        text = f"Do not ship it yet: nothing sure of {_says(open_)}{_not_worse(open_)}."
        return f"{text} {_missing_part(open_[0])}".strip()
    guarded = f", and no harm to {_says(guardrails)}" if guardrails else ""
    otherwise = f"it acts otherwise ({_says(changed)}), with " if changed else ""
    if_you_like = "Look before you ship it: " if changed else "Ship it if you like: "
    match primary.answer:
        case "better":
            look = f", but look before: it acts otherwise ({_says(changed)})" if changed else ""
            return f"Ship it: better in {primary.metric.says}{guarded}{look}."
        case "equivalent":
            said = f"nothing lost or won in {primary.metric.says}{guarded}"
            return f"{if_you_like}{otherwise}{said}."
        case "no change seen":
            return f"{if_you_like}{otherwise}no change seen in {primary.metric.says}{guarded}."
    return (
        f"Look before you ship it: it acts otherwise ({primary.metric.says}){guarded}. "
        "Whether that is better, this metric does not say."
    )


def _missing_part(verdict: Verdict) -> str:
    """What is missing for an answer."""
    return "".join(phrase.text for phrase in _missing_phrases(verdict))


def _missing_phrases(verdict: Verdict) -> list[Worded]:
    if not verdict.is_answered:
        return [Worded("The run is not complete: let it end.")]
    more = (verdict.clusters_needed or 0) - verdict.clusters
    told = f"About {_clusters(verdict, more, 'more ')} would tell." if more > 0 else ""
    if verdict.metric.direction and verdict.margin is None and not told:
        told = "Declare a margin: how much of it does not matter."
    if not verdict.missing:
        return [Worded(told)]
    count = Worded(f"{verdict.missing:,} of {verdict.items:,} items", "missing")
    # What an answer took may be unknown where there is one: asking again would not tell it.
    lack = " lack an answer: ask them again." if verdict.metric.unit not in TOOK else NOT_TOLD
    return [Worded(f"{told} ".lstrip()), count, Worded(lack)]


def _allowed(verdict: Verdict) -> str:
    return apart(verdict.margin, verdict.metric.unit).lstrip("+")


def _not_worse(verdicts: Sequence[Verdict]) -> str:
    """By how much they are surely not worse, of those of which that is known."""
    known = [one for one in verdicts if one.is_not_worse]
    said = [f"{_allowed(one)} in {one.metric.says}" for one in known]
    return f", but that it is not worse by more than {_list(said)}" if said else ""


def _clusters(verdict: Verdict, count: int, which: str = "") -> str:
    return f"{count:,} {which}{verdict.clustered_by}{'s' * (count != 1)}"


def _percent(value: float) -> str:
    text = f"{100 * value:.1f}" if abs(value) >= 0.001 or not value else f"{100 * value:.1g}"
    return text.replace("-", "−")


def _says(verdicts: Sequence[Verdict]) -> str:
    return _list([one.metric.says for one in verdicts])


def _list(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
