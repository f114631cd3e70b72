"""A conversation side by side: what both saw, and at each decision what each of them did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from refold.conversation.governance import RedactionApplied
from refold.core.jsonvalue import pointer
from refold.core.recorded import Recorded, parts_of
from refold.replay.actions import CallPair, ConversationComparison, DecisionComparison, arguments_of
from refold.replay.decision import Action, Call
from refold.replay.report.formatting import cut, offset, text_at
from refold.replay.report.links import Link, event_anchor
from refold.replay.report.text_diff import WordRun, compare_words

REDACTED: Final = "[redacted]"
SPAN_MIN_US: Final = 1_000_000

_NOTES: Final = (
    *("model.failed", "session.started", "session.ended", "playback.interrupted"),
    *("dtmf.received", "call.transferred", "call.held", "tool.decided"),
    *("replay.diverged", "simulator.faulted"),
)
KINDS: Final = {"user.utterance": "user", "tool.result": "result", **dict.fromkeys(_NOTES, "note")}
"""The events that stand between the answers, and what kind of row each of them makes."""

_OF_AN_ANSWER: Final = frozenset({"agent.utterance", "tool.call", "model.response"})


Read = Callable[[str], Iterable[Recorded]]
"""Gives the events of a stream."""


def nothing_read(_stream: str) -> Iterable[Recorded]:
    """Of no stream is anything known."""
    return []


class Side(msgspec.Struct, frozen=True):
    """What one side did at a decision, None for no answer.

    ``words`` are its text as runs, and ``mark`` is the element around its own, where both are shown
    against each other; ``beside`` is the answer whose cost this one's is measured by.
    """

    who: str
    action: Action | None = None
    mark: str = "span"
    words: list[WordRun] = []
    pairs: Mapping[int, CallPair] = {}
    beside: Action | None = None

    @property
    def calls(self) -> Iterator[tuple[str, Any, bool, dict[str, list[str]]]]:
        """Each call of the answer: its tool, its arguments, whether the other side has it too.

        Last the paths in the arguments that the other side has otherwise, by the first key of
        each; under "" what differs as a whole.
        """
        for call in self.action.calls if self.action is not None else ():
            pair = self.pairs.get(id(call))
            changes, arguments = dict[str, list[str]](), arguments_of(call)
            for operation in pair.changes if pair is not None else ():
                # Where all of it is another, each member is.
                members = arguments if isinstance(arguments, dict) and not operation.path else ()
                for path in [pointer([name]) for name in members] or [operation.path]:
                    changes.setdefault(_first_key(path), []).append(path)
            yield call.name, arguments, pair is not None, changes


class TurnRow(msgspec.Struct, frozen=True):
    """A row of a conversation: an event that both saw, or a decision with its ``sides``.

    ``clock`` is the time since the start of the conversation; ``type`` and ``data`` are those of
    the event, ``tool`` is whose result it holds. ``level`` is that of the decision, "" where it
    stands alone, and ``error`` why it has no answer.
    """

    link: Link
    clock: str
    kind: str
    sides: list[Side] = []
    level: str = ""
    error: str | None = None
    type: str = ""
    data: Mapping[str, Any] = {}
    tool: str = ""


def conversation_rows(
    conversation: ConversationComparison, history: Sequence[Recorded], until: int | None = None
) -> Iterator[TurnRow]:
    """The rows of a conversation, up to a version; without a history only its decisions."""
    decisions = {decision.at: decision for decision in conversation.decisions}
    clock_of = _clock(history)
    gone = redacted_ids(history)
    tools = {call.call_id: call.name for d in decisions.values() for call in d.recorded.calls}
    for recorded in parts_of(history if until is None else history[: until + 1]):
        link = Link(recorded.id, event_anchor(conversation.stream, recorded.id))
        clock = clock_of(recorded)
        # What was seen is no answer, though both may be parts of one event.
        if (kind := KINDS.get(recorded.type)) is not None:
            data = recorded.data if isinstance(recorded.data, dict) else {}
            tool = text_at(data, "name") or tools.get(text_at(data, "call_id"), "tool")
            type_name, data = ("", {}) if is_among(gone, recorded) else (recorded.type, data)
            yield TurnRow(link, clock, kind, type=type_name, data=data, tool=tool)
        elif (decision := decisions.pop(recorded.id, None)) is not None:
            yield _decided(link, clock, decision)
    for decision in decisions.values():
        link = Link(decision.at, event_anchor(conversation.stream, decision.at))
        yield _decided(link, "", decision)


def _decided(link: Link, clock: str, decision: DecisionComparison) -> TurnRow:
    if decision.answer == decision.at:  # The record beside itself.
        return TurnRow(link, clock, "decision", [Side("Agent", decision.recorded)])
    return TurnRow(link, clock, "decision", _sides(decision), decision.level, decision.error)


def _clock(history: Sequence[Recorded]) -> Callable[[Recorded], str]:
    """The time since the start; nothing where all happened at once, as in an import."""
    moments = [recorded.occurred_at_us for recorded in history]
    started_us = min(moments, default=0)
    if max(moments, default=0) - started_us < SPAN_MIN_US:
        return lambda _: ""
    return lambda recorded: offset(recorded.occurred_at_us - started_us)


def _sides(decision: DecisionComparison) -> list[Side]:
    """Both answers, or one where they are the same."""
    recorded, candidate = decision.recorded, decision.candidate
    if candidate is None:
        return [Side("Recorded", recorded), Side("Candidate")]
    if decision.level == "same":
        return [Side("Both", recorded)]
    return both_sides(("Recorded", recorded), ("Candidate", candidate), decision.pairs)


def both_sides(
    old: tuple[str, Action], new: tuple[str, Action], pairs: Iterable[CallPair]
) -> list[Side]:
    """Two answers against each other, each with its name; ``pairs`` are their calls that match."""
    (was, before), (is_now, after) = old, new
    olds, news = compare_words(cut(before.shown).shown, cut(after.shown).shown)
    matched = {id(call): pair for pair in pairs for call in (pair.recorded, pair.candidate)}
    return [
        Side(was, before, "del", olds, matched),
        Side(is_now, after, "ins", news, matched, before),
    ]


def _first_key(path: str) -> str:
    """The first key of a JSON Pointer (RFC 6901)."""
    return path.split("/", 2)[1].replace("~1", "/").replace("~0", "~") if path else ""


# -- what was redacted ----------------------------------------------------------------------------


def redacted_ids(history: Iterable[Recorded]) -> frozenset[str]:
    """The events of which something was redacted, whether or not its bytes are still stored."""
    applied = (event for event in history if event.type == "redaction.applied")
    return frozenset(event.to_class(RedactionApplied).event for event in applied)


def is_among(ids: frozenset[str], event: Recorded) -> bool:
    """Whether an event is one of these: on a branch, they still name the one that was copied."""
    return event.id in ids or event.origin_id in ids


def without_redacted(
    conversation: ConversationComparison, history: Iterable[Recorded]
) -> ConversationComparison:
    """The comparison, with nothing of the answers that were redacted, on either side."""
    gone = redacted_ids(history)
    starts = {decision.at for decision in conversation.decisions}
    hidden, current = set(), ""
    for event in history if gone else ():
        current = event.id if event.id in starts else current
        if event.type in _OF_AN_ANSWER and is_among(gone, event):
            hidden.add(current)
    decisions = [_hidden(d) if d.at in hidden else d for d in conversation.decisions]
    return msgspec.structs.replace(conversation, decisions=decisions)


def _hidden(decision: DecisionComparison) -> DecisionComparison:
    recorded, candidate = _emptied(decision.recorded), decision.candidate
    candidate = None if candidate is None else _emptied(candidate)
    return msgspec.structs.replace(decision, recorded=recorded, candidate=candidate, pairs=[])


def _emptied(action: Action) -> Action:
    calls = tuple(Call(call.name, REDACTED, call.call_id, call.kind) for call in action.calls)
    text = REDACTED if action.shown else ""
    return msgspec.structs.replace(action, text=text, calls=calls, parts=())
