"""A conversation side by side: what both saw, and at each decision what each of them did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from refold.core.recorded import Recorded, parts_of
from refold.replay.actions import CallPair, arguments_of
from refold.replay.conversations import ConversationComparison, DecisionComparison
from refold.replay.decision import Action, Call
from refold.replay.report.formatting import Cut, cut, json_text, offset, value_text
from refold.replay.report.links import Link, event_anchor
from refold.replay.report.redacted import redacted_ids
from refold.replay.report.text_diff import Run, compare_words

ARGUMENT_CHARS_MAX: Final = 400
ARGUMENTS_SHOWN: Final = 30
SPAN_MIN_US: Final = 1_000_000

KINDS: Final = {
    "user.utterance": "user",
    "tool.result": "result",
    "model.failed": "note",
    "session.started": "note",
    "session.ended": "note",
    "playback.interrupted": "note",
    "dtmf.received": "note",
    "call.transferred": "note",
    "call.held": "note",
    "tool.decided": "note",
}
"""The events that stand between the answers, and what kind of row each of them makes."""


class Argument(msgspec.Struct, frozen=True):
    """An argument of a call; ``paths`` are the places in it that the other side has otherwise."""

    key: str
    text: str
    paths: list[str]


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of one side; ``has_other``: the other side has one to the same tool.

    ``arguments`` are the first ones, ``left_off`` counts the rest. What is no object is ``raw``,
    and ``differs`` from the other side's or not.
    """

    name: str
    has_other: bool
    arguments: list[Argument] = []
    left_off: int = 0
    raw: Cut[str] | None = None
    differs: bool = False


class Side(msgspec.Struct, frozen=True):
    """What one side did at a decision, None for no answer; ``mark`` is the element around its own.

    ``beside`` is the other side's answer, where this one's is measured by it.
    """

    who: str
    action: Action | None
    words: list[Run] = []
    calls: list[ToolCall] = []
    mark: str = "span"
    beside: Action | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row of a conversation; ``clock`` is the time since its start.

    Either a ``decision`` with its ``sides``, or an event that both saw: ``said`` holds what is
    text in it ("" for the rest), ``tool`` and ``result`` what a tool gave back, ``confidence`` how
    surely words were recognised (0 to 1).
    """

    link: Link
    clock: str
    kind: str
    decision: DecisionComparison | None = None
    sides: list[Side] = []
    type: str = ""
    said: Mapping[str, str] = {}
    tool: str = ""
    result: str = ""
    is_error: bool = False
    is_redacted: bool = False
    confidence: float | None = None


def conversation_rows(
    conversation: ConversationComparison, history: Sequence[Recorded]
) -> Iterator[Row]:
    """The rows of a conversation; without a history only its decisions."""
    decisions = {decision.at: decision for decision in conversation.decisions}
    clock_of = _clock(history)
    gone = redacted_ids(history)
    tools = {call.call_id: call.name for d in decisions.values() for call in d.recorded.calls}
    for recorded in parts_of(history):
        link = Link(recorded.id, event_anchor(conversation.stream, recorded.id))
        # What was seen is no answer, though both may be parts of one event.
        if recorded.type in KINDS:
            is_redacted = not gone.isdisjoint((recorded.id, recorded.origin_id))
            yield _seen(recorded, link, clock_of(recorded), tools, is_redacted=is_redacted)
        elif (decision := decisions.pop(recorded.id, None)) is not None:
            yield _decided(decision, link, clock_of(recorded))
    for decision in decisions.values():
        yield _decided(decision, Link(decision.at, event_anchor(conversation.stream, decision.at)))


def _clock(history: Sequence[Recorded]) -> Callable[[Recorded], str]:
    """The time since the start; nothing where all happened at once, as in an import."""
    moments = [recorded.occurred_at_us for recorded in history]
    started_us = min(moments, default=0)
    if max(moments, default=0) - started_us < SPAN_MIN_US:
        return lambda _: ""
    return lambda recorded: offset(recorded.occurred_at_us - started_us)


def _seen(
    recorded: Recorded, link: Link, clock: str, tools: Mapping[str, str], *, is_redacted: bool
) -> Row:
    data = recorded.data if isinstance(recorded.data, dict) else {}
    said = defaultdict(str, {k: v for k, v in data.items() if isinstance(v, str)})
    confidence = data.get("confidence")
    return Row(
        link=link,
        clock=clock,
        kind=KINDS[recorded.type],
        type=recorded.type,
        said=said,
        tool=said["name"] or tools.get(said["call_id"], "tool"),
        result=json_text(data.get("result")),
        is_error=bool(data.get("is_error")),
        is_redacted=is_redacted,
        confidence=confidence if isinstance(confidence, int | float) else None,
    )


def _decided(decision: DecisionComparison, link: Link, clock: str = "") -> Row:
    sides = list(_sides(decision))
    return Row(link=link, clock=clock, kind="decision", decision=decision, sides=sides)


def _sides(decision: DecisionComparison) -> Iterator[Side]:
    """Both answers, or one where they are the same."""
    recorded, candidate = decision.recorded, decision.candidate
    if candidate is None or decision.level == "same":
        who = "Recorded" if candidate is None else "Both"
        yield _side(who, recorded, [Run(cut(recorded.text).shown, False)])
        if candidate is None:
            yield Side("Candidate", None)
        return
    olds, news = compare_words(cut(recorded.text).shown, cut(candidate.text).shown)
    pairs = {id(call): pair for pair in decision.pairs for call in (pair.recorded, pair.candidate)}
    yield _side("Recorded", recorded, olds, "del", pairs)
    yield _side("Candidate", candidate, news, "ins", pairs, recorded)


def _side(
    who: str,
    action: Action,
    words: list[Run],
    mark: str = "span",
    pairs: Mapping[int, CallPair] | None = None,
    beside: Action | None = None,
) -> Side:
    calls = [_call(call, (pairs or {}).get(id(call))) for call in action.calls]
    return Side(who, action, words if action.text.strip() else [], calls, mark, beside)


def _call(call: Call, pair: CallPair | None) -> ToolCall:
    changed = _changed_keys(pair)
    arguments, has_other = arguments_of(call), pair is not None
    if not isinstance(arguments, dict):
        raw = cut(json_text(arguments), ARGUMENT_CHARS_MAX)
        return ToolCall(name=call.name, has_other=has_other, raw=raw, differs=bool(changed))
    items, left_off = cut(list(arguments.items()), ARGUMENTS_SHOWN)
    shown = [
        Argument(key, value_text(value, ARGUMENT_CHARS_MAX), changed.get(key, []))
        for key, value in items
    ]
    return ToolCall(name=call.name, has_other=has_other, arguments=shown, left_off=left_off)


def _changed_keys(pair: CallPair | None) -> dict[str, list[str]]:
    """The paths that differ, by the first key of each; under "" what differs as a whole."""
    found: dict[str, list[str]] = {}
    for operation in pair.changes if pair is not None else ():
        first, _, _ = operation.path.removeprefix("/").partition("/")
        key = first.replace("~1", "/").replace("~0", "~")
        found.setdefault(key, []).append(operation.path)
    return found
