"""What is to be done to the outside world, and what did not come of it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final, Literal, NamedTuple

from refold.conversation.events import Payload
from refold.conversation.governance import EffectCommitted
from refold.core.event import NAME_BYTES_MAX
from refold.core.recorded import Recorded
from refold.core.registry import event
from refold.errors import CodecError

REQUESTED: Final = "effect.requested"
COMMITTED: Final = "effect.committed"
FAILED: Final = "effect.failed"


@event(REQUESTED)
class EffectRequested(Payload, frozen=True):
    """Something is to be done to the outside world, once; appended with the decision to do it.

    The worker's handler of this ``name`` gets the ``arguments``, and the event's own id as the
    idempotency key. ``idempotency_key`` is another one: to ask again for an effect that failed,
    give the key that it had.
    """

    name: str
    arguments: dict[str, Any] = {}
    idempotency_key: str | None = None


@event(FAILED)
class EffectFailed(Payload, frozen=True):
    """An effect (by the id of its request) that will not be tried again.

    ``refused``: it was not done. ``gave_up``: so many attempts ended without an answer, and it may
    have been done; ask the service.
    """

    effect: str
    reason: Literal["refused", "gave_up"]
    error: str
    attempts: int = 1


OUTCOMES: Final = {COMMITTED: EffectCommitted, FAILED: EffectFailed}
TYPES: Final = (REQUESTED, *OUTCOMES)
Outcome = EffectCommitted | EffectFailed


def outcome_key(effect_id: str) -> str:
    """The key of an effect's outcome, whose append is therefore stored once."""
    key = f"{effect_id}/outcome"
    if len(key.encode()) <= NAME_BYTES_MAX:
        return key
    return f"{sha256(effect_id.encode()).hexdigest()}/outcome"


class RequestedEffect(NamedTuple):
    """A requested effect; ``name`` is None when its payload could not be read (``error``)."""

    id: str
    stream: str
    name: str | None
    position: int
    requested_at_us: int
    error: str | None = None


def asked_by(recorded: Recorded) -> RequestedEffect:
    """A request as the backlog keeps it, without its arguments."""
    name, error = None, None
    try:
        name = recorded.to_class(EffectRequested).name
    except CodecError as unreadable:
        error = str(unreadable)
    return RequestedEffect(
        recorded.id, recorded.stream, name, recorded.position, recorded.recorded_at_us, error
    )
