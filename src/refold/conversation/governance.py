"""Decisions about money, and what people are owed: consent, redaction, erasure, holds, access."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from refold.conversation.events import Payload
from refold.core.fingerprint import ADDED
from refold.core.registry import event


@event("decision.recorded")
class DecisionRecorded(Payload, frozen=True):
    """A decision with its amount, its reasons, and the events it rests on."""

    amount: Decimal | None = None
    currency: str | None = None
    reasons: list[str] = []
    basis: list[str] = []
    reference: str | None = None


@event("effect.committed")
class EffectCommitted(Payload, frozen=True):
    """Something was done to the outside world; ``effect`` is the id of its request, if any."""

    reference: str
    amount: Decimal | None = None
    currency: str | None = None
    basis: list[str] = []
    effect: str | None = None


@event("effect.reversed")
class EffectReversed(Payload, frozen=True):
    """Something done to the outside world was undone."""

    reference: str
    amount: Decimal | None = None
    currency: str | None = None
    reasons: list[str] = []
    basis: list[str] = []


@event("consent.recorded")
class ConsentRecorded(Payload, frozen=True):
    """A person agreed to a purpose."""

    party: str
    purpose: str
    basis: str
    expiry: str | None = None


@event("consent.revoked")
class ConsentRevoked(Payload, frozen=True):
    """A person took consent back."""

    party: str
    purpose: str


@event("redaction.applied")
class RedactionApplied(Payload, frozen=True):
    """A value of an event was removed: which (id and JSON Pointer), how, why, by whose word.

    It is recorded before the value goes; ``redaction.completed`` of the same ``redaction`` says
    that it went. ``remains`` commits to what stands in the event since, where the log is sealed:
    docs/reference/audit-format.md. ``despite`` names a floor of retention that was set aside.
    """

    event: str
    pointer: str
    method: str
    reason: str
    authority: str | None = None
    redaction: Annotated[str, ADDED] = ""
    remains: Annotated[str, ADDED] = ""
    despite: Annotated[str | None, ADDED] = None


@event("redaction.completed")
class RedactionCompleted(Payload, frozen=True):
    """What a redaction was to remove is gone from the parts that answered, not from the others."""

    redaction: str
    answered: list[str] = []
    unanswered: list[str] = []


@event("erasure.requested")
class ErasureRequested(Payload, frozen=True):
    """A subject's data is to go; nothing of it is kept here but a pseudonym."""

    erasure: str
    subject: str
    reason: str
    authority: str | None = None


@event("erasure.executed")
class ErasureExecuted(Payload, frozen=True):
    """A subject's data was erased; what answered and what did not.

    ``kept_until``: what a floor of retention keeps goes after that, when it is asked for again.
    """

    subject: str
    answered: list[str] = []
    unanswered: list[str] = []
    erasure: Annotated[str, ADDED] = ""
    kept_until: Annotated[str | None, ADDED] = None


@event("retention.applied")
class RetentionApplied(Payload, frozen=True):
    """Events whose time had passed were emptied: so many of a category, recorded before then."""

    category: str
    events: int
    before: str
    redaction: str


@event("hold.placed")
class HoldPlaced(Payload, frozen=True):
    """Nothing about the subject, or of the category, may go until the hold is released."""

    hold: str
    subject: str
    reason: str
    category: Annotated[str, ADDED] = ""
    authority: Annotated[str | None, ADDED] = None


@event("hold.released")
class HoldReleased(Payload, frozen=True):
    """A hold has ended."""

    hold: str
    reason: str = ""
    authority: Annotated[str | None, ADDED] = None


@event("access.recorded")
class AccessRecorded(Payload, frozen=True):
    """Protected values are about to be read: by whom, what for, about whom, in which streams.

    ``subject`` is a pseudonym; ``destination`` where they go, if they leave the program.
    """

    actor: str
    purpose: str
    events: list[str] = []
    subject: str = ""
    streams: list[str] = []
    destination: str | None = None


@event("access.denied")
class AccessDenied(Payload, frozen=True):
    """Protected values were not given to who asked for them, and why."""

    actor: str
    purpose: str
    reason: str
    subject: str = ""
    streams: list[str] = []
    destination: str | None = None
