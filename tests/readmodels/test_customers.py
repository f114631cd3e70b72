"""`customers`: the conversations of a person, whoever they were known as."""

from decimal import Decimal
from typing import Any

import pytest

import refold
from refold import Event
from refold.conversation import (
    AgentUtterance,
    ModelResponse,
    Party,
    ScoreRecorded,
    SessionEnded,
    SessionStarted,
    ToolCall,
    UserUtterance,
)
from tests.readmodels.tables import Tables, after, caught_up

ADA = Party(role="customer", name="Ada Park", id="person-9", address="+49 30 1")
CALLER = Party(role="customer", name="A. Park", address="+49 30 1")
DESK = Party(role="agent", name="desk", id="desk-1")


def about(subject: object, event: object = UserUtterance(text="It's me")) -> Event:
    """An event that names its subject."""
    return Event.of(event, metadata={"subject": subject})


def answer(cost: str, currency: str = "USD") -> ModelResponse:
    return ModelResponse(cost=Decimal(cost), currency=currency)


def known(tables: Tables) -> list[tuple[Any, ...]]:
    """Who is linked with what, how, under which name."""
    fields = ("person", "stream", "known_by", "name")
    return [tuple(row[name] for name in fields) for row in tables["customer_conversations"]]


def test_all_conversations_of_a_person_come_together() -> None:
    """How many, the first and the last contact, and the exact cost of all in each currency."""
    with refold.open("memory:") as store:
        for number, day in ((1, "2026-03-05"), (2, "2026-03-01"), (3, "2026-03-03")):
            started = SessionStarted(parties=[DESK, ADA])
            said = started, answer("0.1"), answer("0.7", "EUR"), SessionEnded()
            times = [f"{day}T09:0{minute}:00Z" for minute in range(4)]
            events = [Event.of(e, occurred_at=t) for e, t in zip(said, times, strict=True)]
            store.append(f"call-{number}", events)
        tables = caught_up(store)
    assert tables["customers"] == [
        {
            "person": "person-9",
            "name": "Ada Park",
            "conversations": 3,
            "first_contact_at": "2026-03-01T09:00:00.000000Z",
            "last_contact_at": "2026-03-05T09:03:00.000000Z",
            "cost": {"EUR": Decimal("2.1"), "USD": Decimal("0.3")},
        }
    ]
    assert known(tables) == [("person-9", f"call-{n}", "party", "Ada Park") for n in (1, 2, 3)]
    assert [row["answers"] for row in tables["customer_costs"]] == [3, 3]


def test_who_is_known_only_later_is_the_person_of_the_whole_conversation() -> None:
    """A caller known by a number turns out to be somebody: what was spent so far goes along."""
    said = SessionStarted(parties=[CALLER]), answer("0.2"), about("person-9"), answer("0.1")
    tables = after(*said)
    assert known(tables) == [("person-9", "call-1", "subject", "A. Park")]
    assert [row["person"] for row in tables["customers"]] == ["person-9"]
    assert tables["customers"][0]["cost"] == {"USD": Decimal("0.3")}
    assert [row["person"] for row in tables["customer_costs"]] == ["person-9"]


def test_a_number_that_others_call_from_keeps_their_conversations() -> None:
    """Only the conversation whose subject became known leaves the number it came from."""
    with refold.open("memory:") as store:
        store.append("call-1", [SessionStarted(parties=[CALLER]), answer("1")])
        store.append("call-2", [SessionStarted(parties=[CALLER]), answer("2"), about("person-9")])
        tables = caught_up(store)
    costs = {row["person"]: row["cost"] for row in tables["customers"]}
    assert costs == {"+49 30 1": {"USD": Decimal(1)}, "person-9": {"USD": Decimal(2)}}


def test_a_subject_in_the_metadata_of_the_append_is_found() -> None:
    """It is the same whether an append says it of all its events or of one."""
    with refold.open("memory:") as store:
        store.append("call-1", [SessionStarted(parties=[CALLER])], metadata={"subject": "p"})
        assert known(caught_up(store)) == [("p", "call-1", "subject", "A. Park")]


def test_several_people_in_a_conversation() -> None:
    """Each customer of a conference and each subject has it; the cost counts for each of them."""
    other = Party(role="customer", id="person-10")
    tables = after(SessionStarted(parties=[ADA, other, DESK]), answer("0.5"))
    assert [row[0] for row in known(tables)] == ["person-10", "person-9"]
    assert [row["cost"] for row in tables["customers"]] == [{"USD": Decimal("0.5")}] * 2
    said = SessionStarted(parties=[CALLER]), answer("0.5"), about("p1"), about("p2"), about("p1")
    tables = after(*said)
    # The one customer of the session has a name: the first who was recognised.
    assert [(row["person"], row["name"]) for row in tables["customers"]] == [
        ("p1", "A. Park"),
        ("p2", None),
    ]
    assert [row["cost"] for row in tables["customers"]] == [{"USD": Decimal("0.5")}] * 2
    assert [row["conversations"] for row in tables["customers"]] == [1, 1]


@pytest.mark.parametrize("subject", ["", 42, None, ["p"]])
def test_a_subject_is_text(subject: object) -> None:
    """What cannot be a key leaves the conversation with its parties."""
    tables = after(SessionStarted(parties=[ADA]), about(subject))
    assert known(tables) == [("person-9", "call-1", "party", "Ada Park")]


def test_a_name_alone_links_nobody() -> None:
    """People share names."""
    tables = after(SessionStarted(parties=[Party(role="customer", name="Ada Park")]))
    assert (tables["customers"], tables["customer_conversations"]) == ([], [])


def test_the_name_is_the_one_last_given() -> None:
    """That of the latest conversation that gives one."""
    with refold.open("memory:") as store:
        for number, (name, day) in enumerate([("New", 5), ("Old", 1), (None, 9)]):
            party = Party(role="customer", name=name, id="p")
            moment = f"2026-03-0{day}T09:00:00Z"
            started = Event.of(SessionStarted(parties=[party]), occurred_at=moment)
            store.append(f"call-{number}", [started])
        (row,) = caught_up(store)["customers"]
    assert (row["name"], row["conversations"]) == ("New", 3)


def test_contact_is_what_is_said_and_when_it_begins_and_ends() -> None:
    """A score or a tool call weeks later is no contact."""
    scored = ScoreRecorded(name="csat", value=1.0, rater="ann")
    said = SessionStarted(parties=[ADA]), AgentUtterance(text="Hi"), ToolCall("c1", "find"), scored
    at = [f"2026-03-0{day}T09:00:00Z" for day in (1, 2, 3, 4)]
    (row,) = after(*said, at=at)["customers"]
    assert row["first_contact_at"] == "2026-03-01T09:00:00.000000Z"
    assert row["last_contact_at"] == "2026-03-02T09:00:00.000000Z"
