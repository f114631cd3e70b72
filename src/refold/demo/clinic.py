"""A small clinic in memory: what the demo agent's tools work on.

Everyone and everything in it is made up; phone numbers are from the range 555-0100 to 555-0199,
which belongs to nobody. Some bookings and look-ups fail on purpose, as they do in real systems.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import product
from random import Random
from typing import Any, Final

from refold.demo.tables import text

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
    appointments_made: int = 0

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
        self.appointments_made += 1
        number = f"A-{self.appointments_made:03}"
        return {"appointment_id": number, "starts_at": slot["starts_at"], "doctor": slot["doctor"]}


def _error(code: str, message: str) -> Answer:
    return {"error": code, "message": message}
