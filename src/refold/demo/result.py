"""What the demo hands back: everything that is worth printing, as plain values."""

from __future__ import annotations

from typing import Any

import msgspec

from refold.conversation import ConversationState, Line
from refold.replay import Comparison, ReplaySummary

NOTE = (
    "The agent of this demo is a rule-based stand-in for a model: it follows the rules that it "
    "recognises in its prompt. Callers, patients and phone numbers are made up."
)
"""What must stand wherever the demo's figures do."""


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
