"""Verdicts in plain sentences, for whoever has to decide and no statistician."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from refold.replay.answer import SIDES, Verdict

EARLY: Final = "By an early look: "
ACTIONS: Final = ("same_action", "same_calls")
CHANGED: Final = "changed more than noise"
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


def plain(verdict: Verdict) -> str:
    """The answer in a sentence or two with its numbers, without a word of statistics."""
    says, unit = verdict.metric.says, verdict.metric.unit
    one, other = (_side(name) for name in verdict.sides)
    sides = (
        f"{says}: {amount(verdict.candidate, unit)} with {one}, "
        f"{amount(verdict.control, unit)} with {other}"
    )
    ends = f"{apart(verdict.low, unit)} to {apart(verdict.high, unit)}"
    by = f"{apart(verdict.difference, unit)} ({ends}) in {_clusters(verdict, verdict.clusters)}"
    match verdict.answer:
        case "better" | "worse" | "changed more than noise":
            text = f"{sides}; {by}"
        case "equivalent":
            text = f"{sides}; {by}, all of it within the {_allowed(verdict)} that do not matter"
        case "not worse":
            text = f"{sides}; {by}, at worst within the {_allowed(verdict)} that do not matter"
        case "no change seen":
            noise = "it differs from itself" if verdict.sides == SIDES else "chance would have it"
            text = f"{sides}; {by}, no more than {noise}"
        case _:
            is_whole = unit == "share" and (verdict.low, verdict.high) == (-1.0, 1.0)
            fits = "anything" if is_whole or None in (verdict.low, verdict.high) else ends
            sure = f", all not worse by more than {_allowed(verdict)}" * verdict.is_not_worse
            text = f"{sides}; {fits} would fit{sure}. {_missing_part(verdict)}"
    early = "" if verdict.is_complete or not verdict.is_answered else " so far, by an early look"
    return f"{verdict.answer[0].upper()}{verdict.answer[1:]}{early}: {text.rstrip('. ')}."


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
    if not verdict.is_answered:
        return "The run is not complete: let it end."
    more = (verdict.clusters_needed or 0) - verdict.clusters
    told = [f"About {_clusters(verdict, more, 'more ')} would tell."] if more > 0 else []
    if verdict.metric.direction and verdict.margin is None and not told:
        told = ["Declare a margin: how much of it does not matter."]
    if verdict.missing:
        told += [f"{verdict.missing:,} of {verdict.items:,} items lack an answer: ask them again."]
    return " ".join(told)


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
