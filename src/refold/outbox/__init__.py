"""Effects that happen once: asked for in the log, performed by a worker, their outcome recorded.

A decision appends ``effect.requested`` beside the events it decides. An :class:`Outbox` performs
what was asked for and has no outcome yet, and records ``effect.committed`` or ``effect.failed``.
Whatever crashes, the effect is asked of the service again under the same idempotency key, and one
outcome is recorded::

    from refold.outbox import EffectRequested, Outbox

    store.append("order-7", [OrderPlaced(...), EffectRequested("charge", {"amount": "9.50"})])
    Outbox(store, {"charge": charge}).catch_up()  # charge(effect, idempotency_key)

The pattern is the transactional outbox (https://microservices.io/patterns/data/
transactional-outbox.html); the log itself is the table.
"""

from refold.conversation.governance import EffectCommitted
from refold.outbox.effects import EffectFailed, EffectRequested
from refold.outbox.worker import Outbox

__all__ = ["EffectCommitted", "EffectFailed", "EffectRequested", "Outbox"]
