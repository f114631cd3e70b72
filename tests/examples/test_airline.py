"""The simulated airline: its rules, and how near it is to what recorded agents were told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

import refold
from examples.airline.facts import Facts, NotShownError
from examples.airline.fidelity import measure
from examples.airline.simulator import TOOLS, Airline
from refold.conversation.openai_chat import from_messages
from refold.freerun.recorded_world import RecordedWorld
from refold.freerun.world import Missed, ToolOutput
from refold.replay import Call
from tests.support.nearest_prefix import CONVERSATIONS

Histories = Mapping[str, Sequence[Any]]

FLIGHT = {"flight_number": "HAT1", "date": "2024-05-20"}
PERSON = {"first_name": "A", "last_name": "B", "dob": "1990-01-01"}
OWNED = {
    "card": {"source": "credit_card", "id": "card"},
    "gift": {"source": "gift_card", "amount": 120, "id": "gift"},
    "paper": {"source": "certificate", "amount": 100, "id": "paper"},
}


def airline() -> Airline:
    """A user with three ways to pay, one flight, and one reservation on it."""
    places = {"origin": "SFO", "destination": "JFK"}
    flight = {**places, "prices": {"economy": 100, "business": 250},
              "available_seats": {"economy": 2, "business": 0}}  # fmt: skip
    held = {"reservation_id": "R1", "user_id": "u", **places, "cabin": "economy",
            "flights": [{**FLIGHT, "price": 80, **places}], "passengers": [PERSON],
            "payment_history": [{"payment_id": "card", "amount": 80}],
            "total_baggages": 1, "nonfree_baggages": 0}  # fmt: skip
    facts = Facts(
        users={"u": {"payment_methods": OWNED, "reservations": ["R1"]}},
        reservations={"R1": held},
        flights={("HAT1", "2024-05-20"): flight},
        airports={"SFO": "San Francisco"},
    )
    return Airline(facts)


def said(own: Airline, tool: str, **asked: Any) -> Any:
    """What a tool gives, read where it is JSON."""
    text, is_error = own.perform(Call(tool, json.dumps(asked)))
    assert not is_error
    return json.loads(text) if text.startswith(("[", "{")) else text


def book(own: Airline, *paid: tuple[str, int], **changed: Any) -> Any:
    """Book the flight for one, paid by these."""
    asked = {
        "user_id": "u", "origin": "SFO", "destination": "JFK", "flight_type": "one_way",
        "cabin": "economy", "flights": [FLIGHT], "passengers": [PERSON],
        "payment_methods": [{"payment_id": by, "amount": amount} for by, amount in paid],
        "total_baggages": 1, "nonfree_baggages": 0, "insurance": "no",
    }  # fmt: skip
    return said(own, "book_reservation", **{**asked, **changed})


def owned(own: Airline) -> dict[str, Any]:
    """What the user can pay by now."""
    methods: dict[str, Any] = said(own, "get_user_details", user_id="u")["payment_methods"]
    return methods


def test_a_booking_is_seen_by_later_reads() -> None:
    """The gift card has less on it, the certificate is gone, the reservation is the user's."""
    own = airline()
    made = book(own, ("gift", 20), ("paper", 80))
    assert made["reservation_id"] == "HATHAT"
    assert owned(own)["gift"]["amount"] == 100
    assert "paper" not in owned(own)
    assert said(own, "get_reservation_details", reservation_id="HATHAT") == made
    assert said(own, "get_user_details", user_id="u")["reservations"] == ["R1", "HATHAT"]
    assert book(own, ("card", 100))["reservation_id"] == "HATHAU"


@pytest.mark.parametrize(
    ("paid", "changed", "why"),
    [
        ([("card", 90)], {}, "payment amount does not add up, total price is 100, but paid 90"),
        ([("card", 100)], {"insurance": "yes", "nonfree_baggages": 1}, "total price is 180"),
        ([("gift", 200)], {}, "not enough balance in payment method gift"),
        ([("other", 100)], {}, "payment method other not found"),
        ([("card", 300)], {"passengers": [PERSON] * 3}, "not enough seats on flight HAT1"),
        ([("card", 1)], {"flights": [{**FLIGHT, "date": "2024-05-14"}]}, "HAT1 not available on"),
    ],
)
def test_what_cannot_be_booked_is_refused_and_changes_nothing(
    paid: Any, changed: Any, why: str
) -> None:
    """In the words of the recorded tools, which tell it as any other result."""
    own = airline()
    refused = book(own, *paid, **changed)
    assert refused.startswith("Error: ")
    assert why in refused
    assert owned(own) == OWNED


def test_a_change_costs_the_difference_and_a_cancellation_gives_it_back() -> None:
    """A flight that is kept in its cabin keeps its price; a certificate pays for no change."""
    own = airline()
    asked = {"reservation_id": "R1", "flights": [FLIGHT], "payment_id": "gift"}
    kept = said(own, "update_reservation_flights", cabin="economy", **asked)
    assert [paid["amount"] for paid in kept["payment_history"]] == [80]
    full = said(own, "update_reservation_flights", cabin="business", **asked)
    assert full == "Error: not enough seats on flight HAT1"
    bags = {"reservation_id": "R1", "total_baggages": 4, "nonfree_baggages": 3}
    for by, why in (
        ("paper", "certificate cannot be used to update reservation"),
        ("gift", "gift card balance is not enough"),
        ("none", "payment method not found"),
    ):
        refused = said(own, "update_reservation_baggages", **bags, payment_id=by)
        assert refused == f"Error: {why}"
    said(own, "update_reservation_baggages", **{**bags, "nonfree_baggages": 1}, payment_id="gift")
    assert owned(own)["gift"]["amount"] == 70
    gone = said(own, "cancel_reservation", reservation_id="R1")
    assert gone["status"] == "cancelled"
    assert [paid["amount"] for paid in gone["payment_history"]] == [80, 50, -80, -50]


def test_the_rest_of_the_tools() -> None:
    """Certificates are numbered, passengers as many as before, sums are to the cent."""
    own = airline()
    sent = said(own, "send_certificate", user_id="u", amount=50)
    assert sent == "Certificate certificate_3221322 added to user u with amount 50."
    assert owned(own)["certificate_3221322"]["amount"] == 50
    other = {**PERSON, "first_name": "C"}
    asked = {"reservation_id": "R1", "passengers": [other]}
    assert said(own, "update_reservation_passengers", **asked)["passengers"] == [other]
    assert said(own, "update_reservation_passengers", reservation_id="R1", passengers=[]) == (
        "Error: number of passengers does not match"
    )
    assert said(own, "calculate", expression="(350 - 122) * 1.5 / 7") == "48.86"
    assert said(own, "calculate", expression="open()") == "Error: invalid characters in expression"
    assert said(own, "think", thought="Hm.") == ""
    assert said(own, "transfer_to_human_agents", summary="-") == "Transfer successful"
    assert said(own, "list_all_airports") == {"SFO": "San Francisco"}


@pytest.mark.parametrize(
    ("tool", "asked"),
    [
        ("get_user_details", {"user_id": "x"}),
        ("get_reservation_details", {"reservation_id": "x"}),
        ("search_direct_flight", {"origin": "SFO", "destination": "JFK", "date": "2024-05-20"}),
    ],
)
def test_what_no_conversation_shows_is_not_made_up(tool: str, asked: dict[str, str]) -> None:
    """Neither a user nor an empty search."""
    with pytest.raises(NotShownError):
        said(airline(), tool, **asked)


# -- the recorded agents ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded() -> Histories:
    """The 200 conversations."""
    if not CONVERSATIONS.exists():
        pytest.skip(f"{CONVERSATIONS} is not here")
    with refold.open("memory:") as store:
        for one in json.loads(CONVERSATIONS.read_text()):
            name = f"airline-{one['task_id']}-{one['trial']}"
            store.append(name, from_messages(one["traj"]))
        return {info.stream: list(store.read(info.stream)) for info in store.streams()}


NOT_SHOWN = {
    "no conversation saw HAT290 on 2024-05-20 in economy": [
        ("airline-15-0", 1), ("airline-15-1", 4), ("airline-15-1", 5), ("airline-15-2", 2),
        ("airline-15-3", 4),
    ],
    "no conversation saw HAT025 on 2024-05-18 in economy": [
        ("airline-46-3", 8), ("airline-46-3", 11), ("airline-46-3", 14),
    ],
}  # fmt: skip
"""Every call that the simulator does not answer as the record has it, by why."""


def test_it_gives_what_the_recorded_agents_were_told(recorded: Histories) -> None:
    """99.3 % of their 1,164 calls to the character (95 % are asked for); the rest is known."""
    found = measure(recorded)
    assert (found.calls.total(), len(found.calls)) == (1_164, 14)
    assert found.share >= 0.95
    listed: dict[str, list[tuple[str, int]]] = {}
    for one in found.differing:
        listed.setdefault(one.why, []).append((one.stream, one.number))
    assert {why: sorted(places) for why, places in listed.items()} == NOT_SHOWN


def test_a_conversation_alone_shows_nearly_enough(recorded: Histories) -> None:
    """98 %, each simulation knowing nothing but the conversation that it stands in for."""
    each = [measure({stream: history}) for stream, history in recorded.items()]
    assert sum(len(one.differing) for one in each) == 23


def test_it_stands_in_for_the_tools_of_a_replay(recorded: Histories) -> None:
    """What is on record is told from there; another booking is simulated, and seen from then on."""
    history = recorded["airline-0-0"]
    own = RecordedWorld(history, TOOLS)
    answers = [own.answer(one.call) for one in own.unasked()]
    assert {one.source for one in answers if isinstance(one, ToolOutput)} == {"recorded"}
    assert own.unasked() == []
    user = Call("get_user_details", '{"user_id": "mia_li_3668"}')
    told = own.answer(user)
    assert isinstance(told, ToolOutput)
    assert told.source == "simulated"
    assert json.loads(told.output)["reservations"][-1] == "HATHAT"
    assert isinstance(own.answer(Call("delete_user", "{}")), Missed)
