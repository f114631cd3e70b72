"""Who a conversation is with: by the subject that its events name, or by its parties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from refold.conversation.events import Party
from refold.core.recorded import Recorded

CUSTOMER: Final = "customer"
"""The role of a party that makes it a customer."""
SUBJECT: Final = "subject"
"""Known by the subject in the metadata of an event: whoever recorded it knew the person."""
PARTY: Final = "party"
"""Known by the id, else the address, of a party: as far as it was known when it began."""


class Person(NamedTuple):
    """A person by the key that all conversations of theirs share."""

    key: str
    name: str | None


def customers_of(parties: Iterable[Party]) -> Iterator[Person]:
    """The customers among parties that can be told from others; a name alone is shared by many."""
    for party in parties:
        key = party.id or party.address
        if party.role == CUSTOMER and key:
            yield Person(key, party.name)


def subject_of(recorded: Recorded) -> str | None:
    """The person that an event says it is about."""
    subject = recorded.noted("subject")
    return subject if isinstance(subject, str) and subject else None
