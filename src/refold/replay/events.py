"""Events that a replay records about itself."""

from __future__ import annotations

from typing import Any

from refold.conversation.events import Fields
from refold.core.registry import event


@event("replay.started")
class ReplayStarted(Fields, frozen=True):
    """A replay of a conversation begins: with which variant, in which mode."""

    variant: dict[str, Any]
    mode: str
    sample: int = 0


@event("replay.diverged")
class ReplayDiverged(Fields, frozen=True):
    """A replay left its record: where and why."""

    at: str
    reason: str
    detail: Any = None


@event("replay.finished")
class ReplayFinished(Fields, frozen=True):
    """A replay is complete: how many decisions were answered and how many failed."""

    answered: int
    failed: int = 0
