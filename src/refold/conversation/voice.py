"""Events that only a voice conversation has; offsets count from the session's start."""

from __future__ import annotations

from typing import Final, Literal

from msgspec.structs import force_setattr

from refold.conversation.events import Payload
from refold.core.registry import event

DIGIT_MASK: Final = "•"
"""Stands for a masked key; a phone has no such key."""


@event("speech.started")
class SpeechStarted(Payload, frozen=True):
    """Someone started to speak."""

    party: str
    offset_ms: int


@event("speech.stopped")
class SpeechStopped(Payload, frozen=True):
    """Someone stopped speaking."""

    party: str
    offset_ms: int


@event("playback.interrupted")
class PlaybackInterrupted(Payload, frozen=True):
    """The caller cut the agent off: only ``played_text`` was heard."""

    played_text: str
    unplayed_text: str = ""
    party: str | None = None
    offset_ms: int | None = None
    message_id: str | None = None


@event("dtmf.received")
class DtmfReceived(Payload, frozen=True):
    """Keys pressed on a phone: only how many, unless ``masked=False`` says they are harmless.

    The keys themselves are dropped when the event is made, so no PIN reaches the log by default.
    """

    digits: str
    masked: bool = True

    def __post_init__(self) -> None:
        if self.masked:
            force_setattr(self, "digits", DIGIT_MASK * len(self.digits))


@event("call.held")
class CallHeld(Payload, frozen=True):
    """The call was put on hold."""

    from_party: str | None = None
    to_party: str | None = None


@event("call.transferred")
class CallTransferred(Payload, frozen=True):
    """The call was handed to someone else."""

    to_party: str
    from_party: str | None = None
    kind: Literal["blind", "warm"] = "blind"
