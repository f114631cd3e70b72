"""The read model ``customers``: the conversations of a person, and what they come to."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import msgspec

from refold.conversation import events, voice
from refold.conversation.amounts import plus
from refold.core.recorded import Recorded
from refold.projections import Projection, Rows, Table
from refold.readmodels.columns import PARTY, SUBJECT, customers_of, kept_from, shown, subject_of


class CustomerConversationRow(msgspec.Struct):
    """That a person took part in a conversation, and how that is known."""

    person: str
    stream: str
    known_by: str
    name: str | None = None


class Spent(msgspec.Struct, array_like=True):
    """What answers cost in one currency, and how many they were."""

    cost: Decimal = Decimal(0)
    answers: int = 0


class CustomerSessionRow(msgspec.Struct):
    """A conversation as far as it counts for its people.

    ``name`` is that of its only customer. ``people`` is a JSON list of their keys; ``spent`` is
    JSON too, a :class:`Spent` by currency. As text, for most events leave them as they are.
    """

    stream: str
    started_at: str
    last_at: str
    known_by: str = PARTY
    name: str | None = None
    subject: str | None = None
    people: str = "[]"
    spent: str = "{}"


class CustomerCostRow(msgspec.Struct):
    """What the answers in all conversations of a person cost in one currency."""

    person: str
    currency: str
    answers: int = 0
    cost: Decimal = Decimal(0)


LINKS: Final = Table(
    "customer_conversations",
    CustomerConversationRow,
    key=("person", "stream"),
    indexes=[("stream",)],
)
SESSIONS: Final = Table("customer_sessions", CustomerSessionRow, key=("stream",))
COSTS: Final = Table("customer_costs", CustomerCostRow, key=("person", "currency"))
PEOPLE: Final = """
SELECT
    link.person AS person,
    (
        SELECT named.name FROM {customer_conversations} AS named
        JOIN {customer_sessions} AS later ON later.stream = named.stream
        WHERE named.person = link.person AND named.name IS NOT NULL
        ORDER BY later.last_at DESC, named.stream DESC LIMIT 1
    ) AS name,
    count(*) AS conversations,
    min(session.started_at) AS first_contact_at,
    max(session.last_at) AS last_contact_at,
    (
        SELECT {if_null}({json_object_of}(currency, cost), '{}') FROM {customer_costs} AS spent
        WHERE spent.person = link.person
    ) AS cost
FROM {customer_conversations} AS link
JOIN {customer_sessions} AS session ON session.stream = link.stream
GROUP BY link.person
"""
customers: Final = Projection(
    "customers", tables=[LINKS, SESSIONS, COSTS], views={"customers": PEOPLE}, revision=1
)
"""One row a person: how many conversations, the first and the last contact, the cost of all."""


_people_in = msgspec.json.Decoder(list[str]).decode
_spent_in = msgspec.json.Decoder(dict[str, Spent]).decode
_encode = msgspec.json.Encoder().encode


@kept_from(customers, events.SessionStarted)
def _started(rows: Rows, event: events.SessionStarted, recorded: Recorded) -> None:
    session = _session(rows, recorded)
    people = customers_of(event.parties)
    session.name = people[0][1] if len(people) == 1 else None
    if session.known_by == SUBJECT:
        _put_link(rows, session, _people_in(session.people)[0], session.name)
    else:
        for person, name in people:
            _link(rows, session, person, name)
    rows.put(SESSIONS, session)


@kept_from(
    customers, events.SessionEnded, events.UserUtterance, events.AgentUtterance, voice.DtmfReceived
)
def _in_contact(rows: Rows, _: object, recorded: Recorded) -> None:
    rows.put(SESSIONS, _session(rows, recorded))


@kept_from(customers, events.ModelResponse)
def _answered(rows: Rows, event: events.ModelResponse, recorded: Recorded) -> None:
    session = _session(rows, recorded)
    if event.cost is not None:
        all_spent = _spent_in(session.spent)
        spent = all_spent.setdefault(event.currency, Spent())
        spent.cost, spent.answers = plus(spent.cost, event.cost), spent.answers + 1
        session.spent = _encode(all_spent).decode()
        for person in _people_in(session.people):
            _spend(rows, person, event.currency, Spent(event.cost, 1))
    rows.put(SESSIONS, session)


def _session(rows: Rows, recorded: Recorded) -> CustomerSessionRow:
    """The conversation of an event, stretched to its time, with its subject among its people."""
    at = shown(recorded.occurred_at_us)
    session = rows.get(SESSIONS, (recorded.stream,))
    if session is None:
        session = CustomerSessionRow(recorded.stream, at, at)
    elif at > session.last_at:
        session.last_at = at
    elif at < session.started_at:
        session.started_at = at
    subject = subject_of(recorded)
    if subject is not None and subject != session.subject:
        _about(rows, session, subject)
    return session


def _about(rows: Rows, session: CustomerSessionRow, subject: str) -> None:
    """Make a conversation one of its subject's: that tells more than the parties did.

    It is taken from the people that its parties seemed to be.
    """
    if session.known_by == PARTY:
        for person in _people_in(session.people):
            rows.delete(LINKS, (person, session.stream))
            for currency, spent in _spent_in(session.spent).items():
                _spend(rows, person, currency, Spent(spent.cost.copy_negate(), -spent.answers))
        session.people, session.known_by = "[]", SUBJECT
    is_first, session.subject = session.people == "[]", subject
    _link(rows, session, subject, session.name if is_first else None)


def _link(rows: Rows, session: CustomerSessionRow, person: str | None, name: str | None) -> None:
    """Make a conversation one of a person's who is known, with what it has cost so far."""
    people = _people_in(session.people)
    if person is None or person in people:
        return
    session.people = _encode([*people, person]).decode()
    _put_link(rows, session, person, name)
    for currency, spent in _spent_in(session.spent).items():
        _spend(rows, person, currency, spent)


def _put_link(rows: Rows, session: CustomerSessionRow, person: str, name: str | None) -> None:
    rows.put(LINKS, CustomerConversationRow(person, session.stream, session.known_by, name))


def _spend(rows: Rows, person: str, currency: str, spent: Spent) -> None:
    row = rows.get(COSTS, (person, currency)) or CustomerCostRow(person, currency)
    row.answers += spent.answers
    row.cost = plus(row.cost, spent.cost)
    if row.answers:
        rows.put(COSTS, row)
    else:
        rows.delete(COSTS, (person, currency))
