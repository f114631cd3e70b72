"""What the demo shows of its calls, as plain values that are worth printing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

import refold
from refold.conversation import Conversation, transcript
from refold.conversation.state import ConversationState
from refold.conversation.transcript import Line
from refold.replay.compare import Comparison
from refold.replay.runner import ReplaySummary

NOTE = (
    "The agent of this demo is a rule-based stand-in for a model: it follows the rules that it "
    "recognises in its prompt. Callers, patients and phone numbers are made up."
)
"""What must stand wherever the demo's figures do."""

States = Mapping[str, ConversationState]
"""The calls as they are at their end, by stream."""


class CallFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded; ``reused`` of the calls were in the store already, from a run before.

    ``intents`` and ``ends`` count the calls by what they were for and how they ended.
    """

    calls: int
    reused: int
    events: int
    turns: int
    tool_calls: int
    tool_errors: int
    interruptions: int
    intents: dict[str, int]
    ends: dict[str, int]


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a call after one of its events: ``id`` and ``at`` are that event's."""

    version: int
    id: str
    at: str
    state: ConversationState


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """A branch on which one event never happened.

    ``without`` is that event as a line of the transcript; ``patch`` are the RFC 6902 operations
    from the state as it was to the state of the branch.
    """

    stream: str
    without: Line
    patch: list[dict[str, Any]]


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the demo; ``msgspec.to_builtins`` makes it JSON values.

    ``shown`` is the stream that ``transcript``, ``half_way``, ``at_end`` and ``what_if`` are of.
    ``timings_s`` has the seconds of each step and ``total``; ``requests`` counts what the local
    server answered, 0 when everything was there from a run before.
    """

    note: str
    model: str
    seed: int
    store: str | None
    recorded: CallFigures
    shown: str
    transcript: list[Line]
    half_way: Moment
    at_end: Moment
    what_if: WhatIf
    replayed: ReplaySummary
    control: ReplaySummary
    comparison: Comparison
    report: str
    requests: int
    timings_s: dict[str, float]


def most_telling(states: States) -> str:
    """A call worth showing: one that was interrupted, changed something, and is not too long."""

    def interest(stream: str) -> tuple[bool, int]:
        state = states[stream]
        interrupted = any(turn.heard is not None for turn in state.transcript)
        books = any(use.event.name == "book_appointment" for use in state.tool_calls)
        return interrupted and books, -len(state.transcript)

    return max(states, key=interest)


def call_figures(store: refold.Store, states: States, reused: int) -> CallFigures:
    """What was recorded, counted."""
    uses = [use for state in states.values() for use in state.tool_calls]
    turns = [turn for state in states.values() for turn in state.transcript]
    return CallFigures(
        calls=len(states),
        reused=reused,
        events=sum(store.head(stream) + 1 for stream in states),
        turns=len(turns),
        tool_calls=len(uses),
        tool_errors=sum(use.answer is not None and use.answer.event.is_error for use in uses),
        interruptions=sum(turn.heard is not None for turn in turns),
        intents=dict(Counter(str(s.initial_state.get("intent")) for s in states.values())),
        ends=dict(Counter(str(state.end_reason) for state in states.values())),
    )


def moment(store: refold.Store, stream: str, version: int) -> Moment:
    """A call as it was after one of its events."""
    event = store.event(f"{stream}@{version}")
    at = next((line.at for line in transcript([event])), event.occurred_at.isoformat())
    state = store.fold(stream, Conversation, version=version).state
    return Moment(version=version, id=event.id, at=at, state=state)


def what_if(store: refold.Store, stream: str, state: ConversationState) -> WhatIf:
    """The call without the last thing that a tool gave back."""
    answers = [use.answer for use in state.tool_calls if use.answer is not None]
    if not answers:
        raise refold.NotFound(f"no tool gave anything back in {stream}", stream=stream)
    branch = store.branch(stream)
    without = branch.without(answers[-1].id)
    (line,) = (line for line in transcript(branch) if line.id == answers[-1].id)
    changes = msgspec.to_builtins(refold.diff_states(state, without.fold(Conversation).state))
    # As RFC 6902 writes an operation: without the value that was there before.
    patch = [{k: v for k, v in change.items() if k != "before"} for change in changes]
    return WhatIf(stream=stream, without=line, patch=patch)
