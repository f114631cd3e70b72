"""What a replay records about itself, beside the answers."""

from __future__ import annotations

from typing import Any

from refold.conversation.events import Payload
from refold.core.registry import event


@event("replay.planned")
class ReplayPlanned(Payload, frozen=True):
    """A run of a replay begins: which conversations it is to ask, as which sample, and whom.

    ``endpoint`` is the address that is asked, absent for a function.
    """

    variant: dict[str, Any]
    sample: int
    streams: list[str]
    endpoint: str | None = None


@event("replay.started")
class ReplayStarted(Payload, frozen=True):
    """A replay of a conversation begins: with which variant, in which mode."""

    variant: dict[str, Any]
    mode: str
    sample: int = 0


@event("replay.diverged")
class ReplayDiverged(Payload, frozen=True):
    """A replay left its record: where and why."""

    at: str
    reason: str
    detail: Any = None


@event("replay.finished")
class ReplayFinished(Payload, frozen=True):
    """A replay is complete: how many decisions were answered and how many failed."""

    answered: int
    failed: int = 0
