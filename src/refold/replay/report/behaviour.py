"""What changed in behaviour: the same change in many places, once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import UNSET

from refold.core.patch import Operation
from refold.replay.conversations import ConversationComparison, DecisionComparison
from refold.replay.decision import Action
from refold.replay.report.formatting import counted
from refold.replay.report.links import Places
from refold.replay.report.markup import Html, el, join, scrolling

PATTERNS_SHOWN: Final = 14
PLACES_SHOWN: Final = 6
VALUE_CHARS_MAX: Final = 60
VALUES_SHOWN: Final = 3
WORDS_ONLY: Final = "words only"
_INDEX: Final = re.compile(r"/\d+(?=/|$)")


class Pattern(NamedTuple):
    """A change that decisions have in common.

    ``before`` and ``after`` are the tools called on either side, or at ``path`` of the arguments
    of ``tool`` the values (several: as many as were seen). ``places`` are pairs of stream and
    event id.
    """

    level: str
    tool: str
    path: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    places: tuple[tuple[str, str], ...]


class _Seen(NamedTuple):
    before: str
    after: str
    place: tuple[str, str]


def patterns(conversations: Iterable[ConversationComparison]) -> list[Pattern]:
    """The changes of tools and arguments, the most frequent first."""
    found: dict[tuple[str, ...], list[_Seen]] = {}
    for conversation in conversations:
        for decision in conversation.decisions:
            place = (conversation.stream, decision.at)
            for key, before, after in _seen(decision):
                found.setdefault(key, []).append(_Seen(before, after, place))
    made = [_pattern(key, seen) for key, seen in found.items()]
    return sorted(made, key=lambda pattern: -len(pattern.places))


def patterns_table(found: list[Pattern], places: Places) -> Html | None:
    """The patterns as a table, each with links to the decisions where it stands."""
    if not found:
        return None
    head = el("tr", *(el("th", name, scope="col") for name in ("Recorded", "Candidate", "Where")))
    rows = [el("tr", *_cells(pattern, places)) for pattern in found[:PATTERNS_SHOWN]]
    rest = len(found) - PATTERNS_SHOWN
    more = el("p", f"and {counted(rest, 'rarer change')}", cls="quiet") if rest > 0 else None
    table = el("table", el("thead", head), el("tbody", *rows), cls="patterns")
    return join([scrolling(table, "What it does differently"), more])


def acts(action: Action) -> str:
    """The tools that an answer calls, in order."""
    return " + ".join(call.name for call in action.calls) or WORDS_ONLY


def value_text(value: Any, chars_max: int = VALUE_CHARS_MAX) -> str:
    """A JSON value in one line, cut where it is long."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= chars_max else f"{text[:chars_max]}…"


def _seen(decision: DecisionComparison) -> Iterator[tuple[tuple[str, ...], str, str]]:
    if decision.candidate is None:
        return
    if decision.level == "tools":
        before, after = acts(decision.recorded), acts(decision.candidate)
        yield ("tools", before, after), before, after
    elif decision.level == "arguments":
        for pair in decision.pairs:
            for change in pair.changes:
                key = ("arguments", pair.recorded.name, _INDEX.sub("/…", change.path))
                yield key, *_values(change)


def _values(change: Operation) -> tuple[str, str]:
    before = "" if change.before is UNSET else value_text(change.before)
    return before, "" if change.value is UNSET else value_text(change.value)


def _pattern(key: tuple[str, ...], seen: list[_Seen]) -> Pattern:
    tool, path = (key[1], key[2]) if key[0] == "arguments" else ("", "")
    befores = dict.fromkeys(one.before for one in seen)
    afters = dict.fromkeys(one.after for one in seen)
    places = dict.fromkeys(one.place for one in seen)
    return Pattern(key[0], tool, path, tuple(befores), tuple(afters), tuple(places))


def _cells(pattern: Pattern, places: Places) -> Iterator[Html]:
    if pattern.level == "tools":
        yield el("td", _act(pattern.before[0]))
        yield el("td", _act(pattern.after[0]))
    else:
        where = [el("code", pattern.tool), " ", el("code", pattern.path or "/", cls="path"), " "]
        yield el("td", *where, _some_values(pattern.before))
        yield el("td", *where, _some_values(pattern.after))
    shown = [join([places.link(*place), " "]) for place in pattern.places[:PLACES_SHOWN]]
    rest = len(pattern.places) - PLACES_SHOWN
    more = el("span", f"and {rest:,} more", cls="quiet") if rest > 0 else None
    yield el("td", el("strong", f"{len(pattern.places):,} × "), *shown, more)


def _act(names: str) -> Html:
    return el("em", names) if names == WORDS_ONLY else el("code", names)


def _some_values(values: tuple[str, ...]) -> Html:
    """The first few distinct values; an empty one: the argument was not there."""
    shown = ", ".join(value or "absent" for value in values[:VALUES_SHOWN])
    return el("span", shown, ", …" if len(values) > VALUES_SHOWN else None)
