"""The checks that come with refold: each a column, given as ``NAME`` or ``NAME=SETTING``.

They look for what is sure, so that a "no" is worth a look; what they cannot tell is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from refold.conversation.chat_shapes import exact_arguments
from refold.conversation.state import ToolUse
from refold.core import jsonvalue
from refold.errors import UsageError
from refold.replay.checks.seen import Examined, Measured, call_key
from refold.replay.checks.words import claims_done, language_of, personal_data
from refold.replay.json_schema import exact, misfit

ROUND_CALLS_MAX: Final = 5
_ACTS: Final = ("write", "irreversible")


class BuiltIn(NamedTuple):
    """A check that comes with refold: what it ``says``, and the name of its setting, "" for none.

    ``read`` makes of the setting's text what ``measure`` is given beside what is seen; it raises
    an error for what is none.
    """

    says: str
    setting: str
    read: Callable[[str], Any]
    measure: Callable[[Examined, Any], Measured]
    default: str | None = None


# -- calls ----------------------------------------------------------------------------------------


def _repeated(seen: Examined, most: int) -> Measured:
    counts = [max(Counter(calls).values(), default=0) for calls in seen.stretches]
    return max(counts, default=0) <= most if _tools(seen) else None


def _loops(seen: Examined, times: int) -> Measured:
    return not any(_turns(calls, times) for calls in seen.stretches) if _tools(seen) else None


def _turns(calls: Sequence[str], times: int) -> bool:
    """Whether the same round of 2 to 5 calls, not all the same, is made so often in a row."""
    return any(
        len({*calls[start : start + size]}) > 1
        and calls[start : start + size * times] == [*calls[start : start + size]] * times
        for size in range(2, ROUND_CALLS_MAX + 1)
        for start in range(len(calls) - size * times + 1)
    )


def _tool_before(seen: Examined, tools: list[str]) -> Measured:
    first, then = tools
    own, is_done = _own(seen), False
    for use in seen.state.tool_calls:
        if use.event.name == then and use in own and not is_done:
            return False
        is_done = is_done or (use.event.name == first and _succeeded(use))
    return True if then in _tools(seen) else None


def _done_twice(seen: Examined, _: str) -> Measured:
    own = [use for use in _own(seen) if use.event.effect in _ACTS]
    names = {use.event.name for use in own}
    acts = [use for use in seen.state.tool_calls if use.event.effect in _ACTS]
    done = Counter(
        call_key(u.event)
        for u in acts
        if u.event.name in names and (_succeeded(u) or (not seen.is_whole and u in own))
    )
    return all(done[call_key(use.event)] <= 1 for use in own) if own else None


# -- words ----------------------------------------------------------------------------------------


def _language(seen: Examined, wanted: str) -> Measured:
    found = [found for text in _words(seen) if (found := language_of(text)) is not None]
    return {*found} == {wanted} if found else None


def _personal_data(seen: Examined, _: str) -> Measured:
    heard = " ".join(turn.text for turn in seen.state.transcript if turn.role == "user")
    return not any(personal_data(text, heard) for text in _words(seen)) if _words(seen) else None


def _kept_promises(seen: Examined, _: str) -> Measured:
    if not any(map(claims_done, _words(seen))):
        return None
    acts = [use for use in seen.state.tool_calls if use.event.effect != "read"]
    return any(_succeeded(use) or (not seen.is_whole and use in _own(seen)) for use in acts)


def _json_output(seen: Examined, schema: Any) -> Measured:
    said = [exact_arguments(text) for text in _said(seen)]
    fits = (not isinstance(one, str) and misfit(one, schema) is None for one in said)
    return all(fits) if said else None


def _says(seen: Examined, pattern: re.Pattern[str]) -> Measured:
    return all(map(pattern.search, _said(seen))) if _said(seen) else None


def _never_says(seen: Examined, pattern: re.Pattern[str]) -> Measured:
    return not any(map(pattern.search, _words(seen))) if _words(seen) else None


# -- how much, and how it ended -------------------------------------------------------------------


def _at_most(much: Callable[[Examined], list[Any]]) -> Callable[[Examined, Decimal], Measured]:
    def measure(seen: Examined, most: Decimal) -> Measured:
        told = much(seen)
        # What is not known of a part is not known of the whole.
        return sum(told) <= most if told and None not in told else None

    return measure


def _tokens(seen: Examined) -> list[Any]:
    usages = [action.usage for action in seen.answers]
    return [None if one is None else one.input_tokens + one.output_tokens for one in usages]


def _ended(seen: Examined, reason: str) -> Measured:
    is_over = seen.is_whole and seen.state.status == "ended"
    return seen.state.end_reason == reason if is_over else None


def _state(seen: Examined, said: tuple[str, Any]) -> Measured:
    if not seen.is_whole:
        return None
    try:
        return jsonvalue.equal(exact(jsonvalue.resolve(seen.state.state, said[0])), said[1])
    except UsageError:
        return False


# -- settings -------------------------------------------------------------------------------------


def _tool_names(text: str) -> list[str]:
    if not (names := [name.strip() for name in text.split(",") if name.strip()]):
        raise ValueError("it names no tool")
    return names


def _two_tools(text: str) -> list[str]:
    if len(names := _tool_names(text)) != 2:
        raise ValueError("it must name two tools")
    return names


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise ValueError("it must be 1 or more")
    return count


def _schema(path: str) -> dict[str, Any]:
    schema = exact_arguments(Path(path).read_text())
    if not isinstance(schema, dict):
        raise ValueError("the file holds no JSON object")
    return schema


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


def _place(text: str) -> tuple[str, Any]:
    place, _, value = text.partition("=")
    jsonvalue.parse_pointer(place)
    match exact_arguments(f"[{value}]"):
        case [one]:
            return place, one
    return place, value


BUILT_IN: Final = {
    "repeated_calls": BuiltIn("no call is made again and again", "times", _count, _repeated, "2"),
    "loops": BuiltIn("no round of calls is made again and again", "times", _count, _loops, "3"),
    "only_tools": BuiltIn(
        "only these tools are called",
        "tool,tool",
        _tool_names,
        lambda seen, tools: {*_tools(seen)} <= {*tools} if _tools(seen) else None,
    ),
    "never_tools": BuiltIn(
        "none of these tools is called",
        "tool,tool",
        _tool_names,
        lambda seen, tools: {*tools}.isdisjoint(_tools(seen)),
    ),
    "tool_before": BuiltIn("a tool after another", "first,then", _two_tools, _tool_before),
    "done_twice": BuiltIn("nothing is done twice", "", str, _done_twice, ""),
    "max_calls": BuiltIn(
        "calls of a tool, at most", "calls", Decimal, _at_most(lambda seen: [len(_tools(seen))])
    ),
    "max_cost": BuiltIn(
        "dollars, at most",
        "dollars",
        Decimal,
        _at_most(lambda seen: [a.cost for a in seen.answers]),
    ),
    "max_tokens": BuiltIn("tokens, at most", "tokens", Decimal, _at_most(_tokens)),
    "max_words": BuiltIn(
        "words of an answer, at most",
        "words",
        Decimal,
        _at_most(
            lambda seen: [max(len(text.split()) for text in _words(seen))] if _words(seen) else []
        ),
    ),
    "says": BuiltIn("the words hold this", "regex", _pattern, _says),
    "never_says": BuiltIn("the words do not hold this", "regex", _pattern, _never_says),
    "json_output": BuiltIn("the words are JSON of this schema", "file", _schema, _json_output),
    "language": BuiltIn("the words are in this language", "en|de|fr|es|it|pt|nl", str, _language),
    "personal_data": BuiltIn("no personal data is spoken", "", str, _personal_data, ""),
    "kept_promises": BuiltIn("what is said to be done was done", "", str, _kept_promises, ""),
    "ended": BuiltIn("the conversation ended so", "reason", str, _ended),
    "state": BuiltIn("the final state says so", "/pointer=value", _place, _state),
}
"""The checks by name."""


def _tools(seen: Examined) -> list[str]:
    return [call.name for action in seen.answers for call in action.calls]


def _own(seen: Examined) -> list[ToolUse]:
    """The calls that are looked at: those of a single answer have no results yet."""
    uses = seen.state.tool_calls
    return uses if seen.is_whole else uses[len(uses) - len(_tools(seen)) :]


def _words(seen: Examined) -> list[str]:
    return [action.text for action in seen.answers if action.text.strip()]


def _said(seen: Examined) -> list[str]:
    """Words, and nothing at all as "": who should say something and is mute did not say it."""
    return [one.text for one in seen.answers if one.text.strip() or not (one.calls or one.parts)]


def _succeeded(use: ToolUse) -> bool:
    return use.answer is not None and not use.answer.event.is_error
