"""A small clinic in memory, what the demo agent's tools work on; and the people who call it.

Who calls, and what they say to what, stands in ``data/callers.toml``; a seed determines every word.
Everyone and everything in it is made up; phone numbers are from the range 555-0100 to 555-0199,
which belongs to nobody. Some bookings and look-ups fail on purpose, as they do in real systems.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count, product
from random import Random
from typing import Any, Final, Literal

import msgspec

from refold.demo.tables import MONTHS, When, cues_in, holds, text

DOCTORS: Final = ("Dr Hale", "Dr Okafor", "Dr Lindqvist")
TIMES: Final = ("8:30", "9:10", "9:50", "10:30", "11:10", "13:30", "14:10", "14:50", "15:30")
DAYS_OPEN: Final = 10
SLOTS_LISTED_MAX: Final = 8
TAKEN_ONE_IN: Final = 9
"""How often a slot is gone by the time it is booked: someone took it at the desk."""
DOWN_ONE_IN: Final = 40
"""How often the look-up of a patient finds the system not answering."""

_HOURS: Final = {"morning": range(12), "afternoon": range(12, 24)}

AGENT: Final[dict[str, Any]] = json.loads(text("agent.json"))
"""The agent as its calls are recorded under: its model, and each tool with what it does."""
TOOLS: Final[tuple[dict[str, Any], ...]] = tuple(
    {"type": "function", "function": {k: tool[k] for k in ("name", "description", "parameters")}}
    for tool in AGENT["tools"]
)
"""The tools in the form of OpenAI chat requests."""

Arguments = Mapping[str, Any]
Answer = dict[str, Any]


@dataclass
class Patient:
    """Someone the clinic knows; ``upcoming`` holds appointments not cancelled."""

    patient_id: str
    name: str
    birth: str
    phone: str
    upcoming: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Clinic:
    """The appointment book. A tool answers with a JSON object; ``error`` says what went wrong."""

    patients: Sequence[Patient]
    slots: list[dict[str, Any]]
    chance: Random
    numbers: Iterator[int] = field(default_factory=partial(count, 1))

    @classmethod
    def opened(cls, patients: Sequence[Patient], *, today: datetime, seed: int) -> Clinic:
        """The book for the working days after ``today``, partly filled; one seed, one book."""
        chance = Random(f"clinic {seed}")
        days = [today.date() + timedelta(days=n) for n in range(1, DAYS_OPEN + 5)]
        workdays = [day for day in days if day.weekday() < 5][:DAYS_OPEN]
        free = [each for each in product(workdays, TIMES, DOCTORS) if chance.random() < 0.45]
        slots = [
            {"slot_id": f"S-{n:03}", "starts_at": f"{day}T{time.zfill(5)}", "doctor": doctor}
            for n, (day, time, doctor) in enumerate(free, 1)
        ]
        return cls(patients, slots, chance)

    def use(self, tool: str, arguments: Arguments) -> Answer:
        """What a tool answers; ``unknown_tool`` and ``bad_arguments`` are answers too."""
        if all(tool != known["name"] for known in AGENT["tools"]):
            return _error("unknown_tool", f"there is no tool {tool}")
        try:
            answer: Answer = getattr(self, f"_{tool}")(**arguments)
        except TypeError as error:
            return _error("bad_arguments", str(error).replace("Clinic._", ""))
        return answer

    def give_appointment(self, patient: Patient) -> None:
        """Let a patient have an appointment from before."""
        slot = self.slots.pop(self.chance.randrange(len(self.slots)))
        patient.upcoming.append(self._appointment(slot))

    def _find_patient(self, name: str, date_of_birth: str, phone: str = "") -> Answer:
        if self.chance.randrange(DOWN_ONE_IN) == 0:
            return _error("unavailable", "the patient system did not answer in 5 s")
        for patient in self.patients:
            matches = (patient.name, patient.birth) == (name, date_of_birth)
            if matches and phone in ("", patient.phone):
                known = {"patient_id": patient.patient_id, "name": patient.name}
                return {**known, "upcoming": [dict(booked) for booked in patient.upcoming]}
        return _error("not_found", "no patient with these details")

    def _list_slots(self, count: int = 3, part_of_day: str = "", doctor: str = "") -> Answer:
        hours = _HOURS.get(part_of_day, range(24))
        slots = [slot for slot in self.slots if int(slot["starts_at"][11:13]) in hours]
        fits = [dict(slot) for slot in slots if doctor in ("", slot["doctor"])]
        return {"slots": fits[: min(int(count), SLOTS_LISTED_MAX)]}

    def _book_appointment(self, slot_id: str, patient_id: str = "", name: str = "") -> Answer:
        slot = next((slot for slot in self.slots if slot["slot_id"] == slot_id), None)
        if slot is None:
            return _error("slot_taken", f"{slot_id} is not free")
        self.slots.remove(slot)
        if self.chance.randrange(TAKEN_ONE_IN) == 0:
            return _error("slot_taken", f"{slot_id} was booked at the desk a moment ago")
        booked = self._appointment(slot)
        for patient in self.patients:
            if patient_id == patient.patient_id or (not patient_id and name == patient.name):
                patient.upcoming.append(booked)
        return booked

    def _cancel_appointment(self, appointment_id: str) -> Answer:
        for patient in self.patients:
            for booked in patient.upcoming:
                if booked["appointment_id"] == appointment_id:
                    patient.upcoming.remove(booked)
                    return {**booked, "status": "cancelled"}
        return _error("not_found", f"there is no appointment {appointment_id}")

    def _request_nurse_callback(self, about: str, patient_id: str = "", name: str = "") -> Answer:
        return {"queued": True, "within_minutes": 120, "for": patient_id or name, "about": about}

    def _transfer_call(self, to: str, reason: str) -> Answer:
        return {"transferred": True, "to": to, "reason": reason}

    def _appointment(self, slot: Mapping[str, Any]) -> dict[str, Any]:
        number = f"A-{next(self.numbers):03}"
        return {"appointment_id": number, "starts_at": slot["starts_at"], "doctor": slot["doctor"]}


def _error(code: str, message: str) -> Answer:
    return {"error": code, "message": message}


# -- the callers: each answers what they hear, with a goal and habits ------------------------------


class CallerLine(msgspec.Struct, frozen=True):
    """What a caller says when the conditions hold, at most ``times``.

    Without wordings they hang up. ``cuts_in``: they do not let the agent's sentence end.
    """

    say: tuple[str, ...]
    when: When = {}
    times: int = 99
    via: Literal["speech", "keypad", "silence"] = "speech"
    cuts_in: bool = False


class _Callers(msgspec.Struct, frozen=True):
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    topics: tuple[str, ...]
    plans: tuple[tuple[str, str, int], ...]
    lines: tuple[CallerLine, ...]


_TABLE: Final = msgspec.toml.decode(text("callers.toml"), type=_Callers)
PLANS: Final = _TABLE.plans
"""What callers want, the habit that shows, and how many there are of each."""


class Saying(msgspec.Struct, frozen=True):
    """What a caller does next.

    ``cuts_in_at`` is the share of the agent's sentence that was heard before they spoke; None
    when they let it end. ``confidence`` is the recogniser's, of speech.
    """

    text: str
    via: Literal["speech", "keypad", "silence"] = "speech"
    cuts_in_at: float | None = None
    confidence: float | None = None


@dataclass
class Caller:
    """A person on the line; ``reply`` says what they do when they hear the agent.

    ``number`` counts callers from 1; ``intent`` is book, move, cancel, advice or human.
    """

    number: int
    patient: Patient
    intent: str
    habit: str
    chance: Random
    said: str = ""
    turns: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def reply(self, heard: str) -> Saying | None:
        """The next turn, or None: they hang up."""
        facts = {**vars(self), "heard": cues_in(heard)}
        left = (line for line in _TABLE.lines if self.turns[line.say] < line.times)
        line = next(line for line in left if holds(line.when, facts))
        if not line.say:
            return None
        self.turns[line.say] += 1
        words = self.chance.choice(line.say).format_map(self._details(heard))
        if line.via != "speech":
            return Saying(words, line.via)
        self.said = words
        cuts_in_at = round(self.chance.uniform(0.2, 0.5), 2) if line.cuts_in else None
        return Saying(words, line.via, cuts_in_at, round(self.chance.uniform(0.82, 0.99), 2))

    def _details(self, heard: str) -> dict[str, str]:
        """What fills a wording in; a wrong date of birth is a year or two off."""
        birth = self.patient.birth
        return {
            "name": self.patient.name,
            "phone": self.patient.phone,
            "birth": spoken_date(birth),
            "wrong_birth": spoken_date(birth, years_off=1),
            "worse_birth": spoken_date(birth, years_off=2),
            "said": self.said,
            "topic": self.chance.choice(_TABLE.topics),
            "doctor": self.chance.choice(DOCTORS),
            "other_part": "morning" if re.search(r" at 1[2-7]:", heard) else "afternoon",
        }


def callers(seed: int) -> Iterator[Caller]:
    """The callers of a seed, in the order in which they call."""
    chance = Random(f"callers {seed}")
    plans = [(intent, habit) for intent, habit, times in PLANS for _ in range(times)]
    chance.shuffle(plans)
    names = [f"{first} {last}" for first in _TABLE.first_names for last in _TABLE.last_names]
    called = zip(chance.sample(names, len(plans)), plans, strict=True)
    for number, (name, (intent, habit)) in enumerate(called, 1):
        year, month, day = (chance.randint(*r) for r in ((1948, 2004), (1, 12), (1, 28)))
        phone = f"555-01{chance.randrange(100):02}"
        patient = Patient(f"P-{1000 + number}", name, f"{year}-{month:02}-{day:02}", phone)
        yield Caller(number, patient, intent, habit, Random(f"caller {seed} {number}"))


def spoken_date(birth: str, *, years_off: int = 0) -> str:
    """``1985-03-04`` as it is said: ``4 March 1985``."""
    year, month, day = map(int, birth.split("-"))
    return f"{day} {MONTHS[month - 1]} {year + years_off}"
