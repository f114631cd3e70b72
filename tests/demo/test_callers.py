"""The demo's callers are made up, varied, and the same for the same seed."""

import re
from collections import Counter
from datetime import datetime
from random import Random
from typing import Any

import pytest

from refold.demo.clinic import AGENT, PLANS, TOOLS, Caller, Clinic, Patient, callers

ADA = Patient("P-1", "Ada Alder", "1985-03-04", "555-0101")


class Lucky(Random):
    """Chance without accidents: the clinic's tools fail at 0."""

    def randrange(self, *_: Any, **__: Any) -> int:
        return 1


def clinic(seed: int = 1) -> Clinic:
    return Clinic.opened([ADA], today=datetime(2026, 3, 2), seed=seed)  # noqa: DTZ001


def test_forty_or_more_people_call_for_every_reason() -> None:
    """Each plan has its callers, whatever the seed; nobody calls twice."""
    for seed in range(5):
        people = list(callers(seed))
        assert len(people) >= 40
        assert Counter((c.intent, c.habit) for c in people) == {
            (intent, habit): times for intent, habit, times in PLANS
        }
        assert len({caller.patient.name for caller in people}) == len(people)


def test_a_seed_determines_who_calls() -> None:
    """The same seed gives the same people in the same order, another one others."""
    first, again, other = ([c.patient for c in callers(seed)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_phone_numbers_belong_to_nobody() -> None:
    """Only the range that is set aside for fiction is used."""
    numbers = [caller.patient.phone for seed in range(3) for caller in callers(seed)]
    assert all(re.fullmatch(r"555-01\d\d", number) for number in numbers)


def test_a_caller_hangs_up_after_a_goodbye_and_never_talks_for_ever() -> None:
    """A caller who understands nothing gives up after a bounded number of turns."""
    caller = Caller(1, ADA, "book", "", Random(1))
    assert caller.reply("Goodbye.") is None
    lost = Caller(2, ADA, "book", "", Random(1))
    turns = [lost.reply("Lorem ipsum.") for _ in range(30)]
    assert turns[0] is not None
    assert turns[-1] is None


def test_every_tool_is_described_has_an_effect_and_answers() -> None:
    """What the model is told of, what it does to the world, and what runs are the same six."""
    named = [tool["function"]["name"] for tool in TOOLS]
    assert named == [tool["name"] for tool in AGENT["tools"] if tool["effect"]]
    for name in named:
        assert clinic().use(name, {"nonsense": 1})["error"] == "bad_arguments"
    assert clinic().use("drop_tables", {})["error"] == "unknown_tool"


def test_a_booked_slot_is_gone_and_a_cancelled_appointment_too() -> None:
    """The book is kept: a slot can be had once, an appointment cancelled once."""
    book = clinic()
    book.chance = Lucky()
    (slot,) = book.use("list_slots", {"count": 1})["slots"]
    booked = book.use("book_appointment", {"slot_id": slot["slot_id"], "patient_id": "P-1"})
    assert booked["starts_at"] == slot["starts_at"]
    again = book.use("book_appointment", {"slot_id": slot["slot_id"], "patient_id": "P-1"})
    assert again["error"] == "slot_taken"
    known = {"name": ADA.name, "date_of_birth": ADA.birth}
    assert book.use("find_patient", known)["upcoming"] == [booked]
    cancel = {"appointment_id": booked["appointment_id"]}
    assert book.use("cancel_appointment", cancel)["status"] == "cancelled"
    assert book.use("cancel_appointment", cancel)["error"] == "not_found"


@pytest.mark.parametrize(("part", "hours"), [("morning", range(12)), ("afternoon", range(12, 24))])
def test_slots_are_listed_for_a_part_of_day_and_a_doctor(part: str, hours: range) -> None:
    """Filters hold together, and the list is bounded."""
    wanted = {"count": 999, "part_of_day": part, "doctor": "Dr Hale"}
    slots = clinic().use("list_slots", wanted)["slots"]
    assert 0 < len(slots) <= 8
    assert {slot["doctor"] for slot in slots} == {"Dr Hale"}
    assert all(int(slot["starts_at"][11:13]) in hours for slot in slots)
