"""Figures as text: percentages, money, milliseconds, times; and texts that are cut to fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from refold.replay import wording
from refold.replay.actions import LEVELS, NOT_COMPARED, SAME_ACTION, known
from refold.replay.answer import Verdict
from refold.replay.figures import Accounting, Figures, Proportion, Tries
from refold.replay.variant import Variant

NOTHING: Final = "–"
"""What stands where nothing is known."""

MEANINGS: Final = {
    "same": "the same words and the same tool calls",
    "words": "other words, the same action",
    "arguments": "the same tools with other arguments",
    "tools": "other tools, or words instead of a tool",
    "empty": "said and did nothing",
    "refused": "the model refused",
    "filtered": "the provider kept it back",
    "truncated": "cut off",
    "not_offered": "calls a tool that it was not offered",
    "broken_arguments": "arguments that are not what the tool takes",
    "own_limit": "more than the candidate takes, such as its context",
    "failed": "the endpoint gave no answer",
    "missing": "was not asked",
}
"""What the levels mean, in a few words."""

TEXT_CHARS_MAX: Final = 4_000
"""Longer text of a turn is cut, and the page says by how much."""
VALUE_CHARS_MAX: Final = 60
VALUES_SHOWN: Final = 3

# HTML has no place for these, written out or as references.
_NO_CHARACTER: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


S = TypeVar("S", str, list[Any])


class Cut(NamedTuple, Generic[S]):
    """The beginning of a text or a list, and how much was left off."""

    shown: S
    left_off: int


def clean(text: str) -> str:
    """Text that a page can hold: what is no character there stands as a replacement character."""
    return _NO_CHARACTER.sub("\ufffd", text)


def cut(whole: S, length_max: int = TEXT_CHARS_MAX) -> Cut[S]:
    """A text or a list, cut where it is longer than this."""
    return Cut(whole[:length_max], max(0, len(whole) - length_max))


def json_text(value: Any) -> str:
    """A JSON value as text; a string stands for itself."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def text_at(data: Mapping[str, Any], key: str) -> str:
    """The text under a key; "" where there is none, or something else."""
    value = data.get(key)
    return value if isinstance(value, str) else ""


def value_text(value: Any, chars_max: int = VALUE_CHARS_MAX) -> str:
    """A JSON value in one line, cut where it is long."""
    shown, left_off = cut(json_text(value), chars_max)
    return f"{shown}…" if left_off else shown


def some_values(values: Iterable[str]) -> str:
    """The first few of some values; an empty one: the argument was not there."""
    shown, left_off = cut([value or "absent" for value in values], VALUES_SHOWN)
    return ", ".join([*shown, "…"] if left_off else shown)


def differing(rate: Proportion) -> int:
    """How many of the trials had no success."""
    return rate.trials - rate.successes


def acted(figures: Figures) -> str:
    """How often the candidate did something else than was recorded, in one sentence."""
    rate, left = figures.by_decision, unanswered(figures.accounting)
    answered = " answered" if left else ""
    if not rate.trials:
        return "No decision was compared"
    if not differing(rate):
        every = counted(rate.trials, "decision")
        return f"The candidate took the same action in all {every}{answered}"
    every = f"{differing(rate):,} of {counted(rate.trials, 'decision')}"
    return f"The candidate acted differently in {every}{answered}"


def without_sense(figures: Figures) -> str:
    """What agents without any sense would reach: so much is no achievement."""
    beside = figures.baselines
    said = f"An agent that never calls a tool would do the same in {percent(beside.never_calls)}"
    if beside.commonest_tool is not None:
        said += f", one that always calls {beside.commonest_tool} in {percent(beside.always_calls)}"
    return f"{said}; {counted(figures.not_assessed, 'decision')} in other words cannot be judged"


def controlled(control: Variant) -> str:
    """What a control is, named for what it is."""
    asked = f"asked of {control.model}" if control.model else "the model that was recorded"
    params = ", ".join(f"{name}={json_text(value)}" for name, value in control.params.items())
    return f"the recorded agent again, {asked}" + (f", with {params}" if params else "")


def samples_named(samples: Sequence[int]) -> str:
    """``sample 0``, ``samples 0, 1, 2``."""
    return f"sample{'s' * (len(samples) > 1)} {', '.join(map(str, samples))}"


def amount(value: float | None, unit: str) -> str:
    """A value of a metric, with its unit."""
    return NOTHING if value is None else wording.amount(value, unit)


def apart(value: float | None, unit: str) -> str:
    """A difference of two values of a metric, with its sign and unit."""
    return wording.apart(value, unit)


def tried_again(tries: Tries) -> str:
    """How many answers took more than one request, and what that may have cost; "" for none."""
    if not tries.answers:
        return ""
    told = (
        f"{counted(tries.answers, 'answer')} tried again, {counted(tries.requests, 'request')} more"
    )
    if tries.wait is not None:
        told += f", {milliseconds(tries.wait.p50)} in the median until the answer"
    if (used := tries.usage) is not None:
        told += f"; these took {used.input_tokens:,} tokens in, {used.output_tokens:,} out"
    if tries.unknown:
        told += f"; {tries.unknown:,} of them may have been charged without saying so"
    return told


def bounds(verdict: Verdict) -> str:
    """What the missing answers could change, at worst and at best."""
    unit = verdict.metric.unit
    ends = f"{apart(verdict.missing_low, unit)} and {apart(verdict.missing_high, unit)}"
    lack = f"{verdict.missing:,} of {verdict.items:,} are not known of both"
    return f"{lack}: whatever they are, the difference over all is between {ends}."


def how(verdict: Verdict) -> str:
    """How an interval was found, for who wants to know."""
    p = "" if verdict.p is None else f", p = {verdict.p:.3g}"
    adjusted = "" if verdict.adjusted_p is None else f", {verdict.adjusted_p:.3g} among several"
    return (
        f"{percent(verdict.confidence)} interval over "
        f"{counted(verdict.clusters, verdict.clustered_by)}: {verdict.method}{p}{adjusted}."
    )


def unanswered(of: Accounting) -> str:
    """``5 of 20 have no answer: 2 failed, 3 missing``; "" where every decision has one."""
    left = {"failed": of.failed, "missing": of.missing, "never begun": of.never_begun}
    left["came after the plan"] = of.later
    parts = ", ".join(f"{count:,} {what}" for what, count in left.items() if count)
    return f"{sum(left.values()):,} of {of.decisions:,} have no answer: {parts}" if parts else ""


def different(counts: Mapping[str, int]) -> int:
    """How many decisions were another action."""
    return sum(counts[level] for level in LEVELS if level not in SAME_ACTION | NOT_COMPARED)


def share(count: int, whole: int) -> float:
    """How much of the whole this is, from 0 to 1."""
    return count / (whole or 1)


def total(amounts: Iterable[Any]) -> Any:
    """The sum of those that are known; None when none is."""
    return sum(given) if (given := known(amounts)) else None


def number(value: int) -> str:
    """``2,000``."""
    return f"{value:,}"


def percent(part: float | None) -> str:
    """``72.4 %``."""
    return NOTHING if part is None else f"{part * 100:.1f} %"


def interval(rate: Proportion) -> str:
    """``between 68.6 % and 76.2 %``, or that there is too little to say so."""
    ends = f"between {percent(rate.low)} and {percent(rate.high)}"
    return ends if rate.high - rate.low < 1 else "too few conversations to say how far off that is"


def money(amount: Decimal | None) -> str:
    """US dollars: cents from a dollar on, else three significant digits."""
    if amount is None:
        return NOTHING
    if amount == 0 or abs(amount) >= 1:
        return f"${amount:,.2f}".replace("$-", "−$")
    digits = min(12, 2 - amount.adjusted())
    return f"${amount:.{digits}f}".replace("$-", "−$")


def at_least(text: str, known: int, asked: int) -> str:
    """An amount, as the least that it can be where not all that add up to it are known."""
    return text if known >= asked or text == NOTHING else f"at least {text}"


def signed(text: str) -> str:
    """A difference with its sign: what has none and is something gets a plus."""
    return text if text.startswith("−") or text == NOTHING else f"+{text}"


def milliseconds(value: float | None) -> str:
    """``640 ms``, ``2.1 ms``, ``12.4 s``."""
    if value is None:
        return NOTHING
    sign, size = ("−" if value < 0 else ""), abs(value)
    if size >= 10_000:
        return f"{sign}{size / 1000:.1f} s"
    return f"{sign}{size:.0f} ms" if size >= 10 else f"{sign}{size:.1f} ms"


def change(before: Decimal | float | None, after: Decimal | float | None) -> str:
    """By how much something grew: ``−16 %``; empty where that means nothing."""
    if before is None or after is None or not before:
        return ""
    grown = (float(after) - float(before)) / float(before) * 100
    return f"{grown:+.0f} %".replace("-", "−")


def offset(us: int) -> str:
    """Time since the start of a conversation: ``0:42``, ``1:02:09``."""
    seconds = max(0, us) // 1_000_000
    hours, minutes = divmod(seconds // 60, 60)
    clock = f"{minutes}:{seconds % 60:02}"
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else clock


def counted(count: int, one: str, many: str | None = None) -> str:
    """``1 decision``, ``2,000 decisions``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
