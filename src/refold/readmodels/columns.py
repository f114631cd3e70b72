"""What columns of several tables say: when, which agent, what it cost, with whom.

Branches are left out of read models: the rows say what happened, not what might have. A branch
also holds only the events after its fork, so its own events alone would count it wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final, TypeVar

from refold.conversation.events import AgentConfigured, Party, Usage
from refold.core.clock import from_us
from refold.core.recorded import Recorded
from refold.projections import Projection, Rows

HASH_CHARS: Final = 12
"""How much of a prompt's hash names a version that nobody gave a name."""
CUSTOMER: Final = "customer"
"""The role of a party that makes it a customer."""
SUBJECT: Final = "subject"
"""Known by the subject in the metadata of an event: whoever recorded it knew the person."""
PARTY: Final = "party"
"""Known by the id, else the address, of a party: as far as it was known when it began."""
_KEPT: Final = 4_096

Handle = TypeVar("Handle", bound=Callable[[Rows, Any, Recorded], None])


def happened(recorded: Recorded) -> bool:
    """Whether an event is of no branch, or of one that was recorded as it happened."""
    return "~" not in recorded.stream or recorded.noted("origin") == "recorded"


def kept_from(projection: Projection, *events: type) -> Callable[[Handle], Handle]:
    """Decorator: what these events do to a projection's rows, where they are not in a branch."""

    def register(handle: Handle) -> Handle:
        @projection.on(*events)
        def handle_what_happened(rows: Rows, event: Any, recorded: Recorded) -> None:
            if "~" not in recorded.stream:
                handle(rows, event, recorded)

        return handle

    return register


@lru_cache(maxsize=_KEPT)
def shown(us: int) -> str:
    """Microseconds UTC as text: ``2026-03-01T09:00:00.000000Z``.

    With six digits, so that text order is time order; as in the view ``events`` of the log.
    """
    return from_us(us).isoformat(timespec="microseconds")[:-6] + "Z"


def version_of(agent: AgentConfigured) -> str | None:
    """The version as configured, else the id of the prompt, else the start of its hash."""
    prompt = agent.prompt
    if agent.version or prompt is None:
        return agent.version
    return prompt.id or prompt.hash[:HASH_CHARS] or None


def count_tokens(row: Any, usage: Usage | None) -> None:
    """Add the tokens of an answer to the columns that are called like its fields."""
    for column in ("input_tokens", "output_tokens", "cached_tokens") if usage else ():
        setattr(row, column, getattr(row, column) + getattr(usage, column))


def customers_of(parties: Iterable[Party]) -> list[tuple[str | None, str | None]]:
    """The customers among parties: the key that all conversations of a person share, and a name.

    Who has no key cannot be told from others: a name alone is shared by many.
    """
    customers = [party for party in parties if party.role == CUSTOMER]
    return [(party.id or party.address or None, party.name) for party in customers]


def subject_of(recorded: Recorded) -> str | None:
    """The person that an event says it is about."""
    subject = recorded.noted("subject")
    return subject if isinstance(subject, str) and subject else None
