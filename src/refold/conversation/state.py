"""The state that a conversation folds to: plain values, so that it can be stored, shown, compared.

``id`` is the event that a part comes from, ``at`` when it happened (RFC 3339).
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar

import msgspec

from refold.conversation import events, governance, voice
from refold.core.clock import rfc3339
from refold.core.history import SessionForked
from refold.core.recorded import Recorded

E = TypeVar("E")


class StatePart(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """Base of the parts: where in the log, and when. None holds itself."""

    id: str
    at: str


class Occurrence(StatePart, Generic[E], kw_only=True):
    """An event and its place."""

    event: E


def occurrence(event: E, recorded: Recorded) -> Occurrence[E]:
    """An event with the place where it is recorded."""
    return Occurrence(id=recorded.id, at=at(recorded), event=event)


def at(recorded: Recorded) -> str:
    """When an event happened, as RFC 3339."""
    return rfc3339(recorded.occurred_at_us)


class Utterance(StatePart, kw_only=True):
    """Words of one side, in the order of the log.

    ``heard`` is what was heard of them where playback was interrupted; None: all of them.
    ``attachments`` are the kinds of what was beside them: ``image_url`` and the like.
    ``redacted`` holds the JSON Pointers of what was removed from the event.
    """

    role: Literal["user", "agent"]
    text: str
    heard: str | None = None
    party: str | None = None
    confidence: float | None = None
    finish_reason: str | None = None
    message_id: str | None = None
    attachments: Sequence[str] = ()
    redacted: Sequence[str] = ()


class ToolAnswer(Occurrence[events.ToolResult], kw_only=True):
    """What a tool gave back; ``redacted`` as in :class:`Utterance`."""

    redacted: Sequence[str] = ()


class ToolUse(Occurrence[events.ToolCall], kw_only=True):
    """A tool call, the decision about it, and its ``answer``; None while it is open."""

    decision: Occurrence[events.ToolDecided] | None = None
    answer: ToolAnswer | None = None
    redacted: Sequence[str] = ()


class UsageTotals(msgspec.Struct, kw_only=True):
    """Tokens of all answers; ``responses`` counts the answers.

    The tokens of ``counted`` of them are known, and the cost of ``priced``: of the others nothing
    is in any sum.
    """

    responses: int = 0
    counted: int = 0
    priced: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


class Consent(StatePart, kw_only=True):
    """What a person agreed to; without a ``basis`` only that they took it back is recorded."""

    party: str
    purpose: str
    basis: str | None = None
    expiry: str | None = None
    revoked_at: str | None = None


class Effected(Occurrence[governance.EffectCommitted], kw_only=True):
    """Something done to the outside world; ``left`` is its amount less what was undone since."""

    left: Decimal | None = None
    reversals: list[Occurrence[governance.EffectReversed]] = []


class Money(msgspec.Struct, kw_only=True):
    """Decisions, effects, and what they come to.

    ``net`` is committed minus reversed by currency, ``XXX`` (ISO 4217: none) where none was named.
    A reversal that names no amount undoes what is left of the last effect with its reference. One
    whose reference no effect has is in ``unmatched_reversals``, and counts with its own amount.
    """

    net: dict[str, Decimal] = {}
    decisions: list[Occurrence[governance.DecisionRecorded]] = []
    effects: list[Effected] = []
    unmatched_reversals: list[Occurrence[governance.EffectReversed]] = []


class RefusedPatch(StatePart, kw_only=True):
    """A ``state.patched`` that could not be applied, as on a branch that left out what it needs.

    The working state stayed as it was before it.
    """

    reason: str


class ConversationState(msgspec.Struct, kw_only=True):
    """Everything that a conversation has come to.

    ``state`` is ``initial_state`` with every ``state.patched`` applied. ``open_calls`` gives for
    each call id without a result the places of its calls in ``tool_calls``, oldest first; a
    result is that of the oldest. A result without an open call is in ``unmatched_results``.
    ``cost`` is by currency. ``duration_ms`` runs from the earliest to the latest moment of what
    happened in the conversation itself: what is said about it later (scores, redactions, consent,
    money, a fork) does not lengthen it. ``early_interruptions`` holds, by message id, what was
    heard of an utterance that the log has not brought yet.
    """

    channel: str | None = None
    direction: str | None = None
    parties: list[events.Party] = []
    status: Literal["open", "ended"] = "open"
    end_reason: str | None = None
    error: str | None = None
    forked_from: SessionForked | None = None
    agent: events.AgentConfigured | None = None
    initial_state: dict[str, Any] = {}
    state: Any = msgspec.field(default_factory=dict)
    refused_patches: list[RefusedPatch] = []
    transcript: list[Utterance] = []
    early_interruptions: dict[str, str] = {}
    keys_pressed: list[Occurrence[voice.DtmfReceived]] = []
    tool_calls: list[ToolUse] = []
    open_calls: dict[str, list[int]] = {}
    unmatched_results: list[ToolAnswer] = []
    usage: UsageTotals = msgspec.field(default_factory=UsageTotals)
    cost: dict[str, Decimal] = {}
    model_failures: list[Occurrence[events.ModelFailed]] = []
    duration_ms: int = 0
    first_at_us: int | None = None
    last_at_us: int | None = None
    money: Money = msgspec.field(default_factory=Money)
    call_holds: list[Occurrence[voice.CallHeld]] = []
    transfers: list[Occurrence[voice.CallTransferred]] = []
    consents: list[Consent] = []
    redactions: list[Occurrence[governance.RedactionApplied]] = []
    scores: list[Occurrence[events.ScoreRecorded]] = []
