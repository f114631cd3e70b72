"""The demo's callers: made-up people who answer what they hear, each with a goal and habits.

A seed determines who calls, why, and every word they say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final, Literal, NamedTuple

from refold.demo.clinic import DOCTORS, Patient
from refold.demo.listen import KEYPAD, SILENCE
from refold.demo.phrases import MONTHS, cues_in

Via = Literal["speech", "keypad", "silence"]

FIRST_NAMES: Final = (
    "Ada", "Bruno", "Clara", "Dario", "Edith", "Farid", "Greta", "Hugo", "Ines", "Jonas",
    "Kaya", "Leon", "Mira", "Nils", "Olga", "Pavel", "Rosa", "Samir", "Tilda", "Viktor",
)  # fmt: skip
LAST_NAMES: Final = (
    "Alder", "Birch", "Cedar", "Dogwood", "Elder", "Fir", "Gorse", "Hazel", "Ivy", "Juniper",
    "Larch", "Maple", "Oak", "Poplar", "Rowan", "Sorrel", "Thistle", "Willow", "Yarrow", "Yew",
)  # fmt: skip

PLANS: Final[tuple[tuple[str, str, int], ...]] = (
    ("book", "", 6),
    ("book", "picky", 2),
    ("book", "keypad", 2),
    ("book", "interrupts", 3),
    ("book", "named_doctor", 1),
    ("book", "asks_hours", 1),
    ("book", "asks_advice", 3),
    ("book", "changes_mind", 1),
    ("move", "", 3),
    ("move", "interrupts", 1),
    ("move", "picky", 1),
    ("cancel", "", 3),
    ("cancel", "changes_mind", 1),
    ("advice", "", 3),
    ("advice", "declines", 1),
    ("advice", "urgent", 2),
    ("book", "wrong_birth", 2),
    ("cancel", "wrong_birth_twice", 1),
    ("human", "", 3),
    ("book", "silent_once", 1),
    ("book", "silent", 1),
    ("book", "abusive", 2),
)
"""What callers want, the habit that shows, and how many of 44 there are of each."""

TOPICS: Final = ("sore throat", "bad headache", "stiff knee", "strange rash", "bad cough")


class Turn(NamedTuple):
    """What a caller does next.

    ``cuts_in_at`` is the share of the agent's sentence that was heard before they spoke; None
    when they let it end. ``confidence`` is the recogniser's.
    """

    text: str
    via: Via = "speech"
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
    turns: int = 0
    refusals: int = 0
    has_wandered: bool = False
    said: str = ""
    heard: str = ""

    def reply(self, heard: str) -> Turn | None:
        """The next turn, or None: they hang up."""
        self.turns += 1
        self.heard = heard
        cues = cues_in(heard)
        if cues & {"says_goodbye", "gives_up", "unverified", "transfers", "transfers_urgent"}:
            return None
        if self._is_silent():
            return Turn(f"{SILENCE} 8 s", via="silence")
        answer = next((act for cue, act in _ANSWERS.items() if cue in cues), _lost)
        turn = answer(self)
        if turn is None or isinstance(turn, Turn):
            return turn
        self.said = turn
        return Turn(turn, confidence=round(self.chance.uniform(0.82, 0.99), 2))

    def _is_silent(self) -> bool:
        may_be = self.habit == "silent" or (self.habit == "silent_once" and not self.has_wandered)
        if self.turns > 1 and may_be:
            self.has_wandered = True
            return True
        return False

    def pick(self, *wordings: str) -> str:
        """One of several wordings."""
        return self.chance.choice(wordings)


def callers(seed: int) -> Iterator[Caller]:
    """The callers of a seed, in the order in which they call."""
    chance = Random(f"callers {seed}")
    plans = [(goal, habit) for goal, habit, times in PLANS for _ in range(times)]
    chance.shuffle(plans)
    names = [f"{first} {last}" for first in FIRST_NAMES for last in LAST_NAMES]
    for number, (name, (intent, habit)) in enumerate(
        zip(chance.sample(names, len(plans)), plans, strict=True), 1
    ):
        birth = (
            f"{chance.randint(1948, 2004)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
        )
        phone = f"555-01{chance.randrange(100):02}"
        patient = Patient(f"P-{1000 + number}", name, birth, phone)
        yield Caller(number, patient, intent, habit, Random(f"caller {seed} {number}"))


def spoken_date(birth: str) -> str:
    """``1985-03-04`` as it is said: ``4 March 1985``."""
    year, month, day = birth.split("-")
    return f"{int(day)} {MONTHS[int(month) - 1]} {year}"


# -- answers to what the agent said ---------------------------------------------------------------


def _opens(caller: Caller) -> str:
    if caller.habit == "abusive" and not caller.has_wandered:
        caller.has_wandered = True
        return caller.pick("About time, you useless machine.", "Are you stupid, making me wait?")
    if caller.habit == "asks_hours" and not caller.has_wandered:
        caller.has_wandered = True
        return caller.pick("What are your opening hours?", "Hi, are you open on Saturdays?")
    return _states_goal(caller)


def _states_goal(caller: Caller) -> str:
    name = caller.patient.name
    match caller.intent:
        case "book":
            return _wants_booking(caller)
        case "move":
            return caller.pick(
                "I need to move my appointment to another day.",
                f"Hi, this is {name}. I have to reschedule my appointment.",
                "Can I change my appointment, please?",
            )
        case "cancel":
            return caller.pick(
                "I would like to cancel my appointment.",
                f"Hello, my name is {name} and I want to cancel my appointment.",
            )
        case "advice":
            return _describes(caller)
        case _:
            return caller.pick("I want to talk to a person.", "Can I speak to a human, please?")


def _wants_booking(caller: Caller) -> str:
    if caller.habit == "named_doctor":
        return f"I would like an appointment with {caller.pick(*DOCTORS)}."
    topic = caller.pick(*TOPICS)
    return caller.pick(
        "I would like to book an appointment.",
        f"Hello, this is {caller.patient.name}. I need an appointment for a {topic}.",
        f"I have had a {topic} for days and need to see a doctor.",
        "Could I get an appointment, in the morning if possible?",
        f"Hi, my name is {caller.patient.name}, I would like to see a doctor.",
    )


def _describes(caller: Caller) -> str:
    if caller.habit == "urgent":
        return caller.pick(
            "I have had chest pain since this morning, what can I take?",
            "My husband has trouble breathing, what should I do?",
        )
    topic = caller.pick(*TOPICS)
    return caller.pick(
        f"I have a {topic} since Sunday. Is that serious?",
        f"What can I take for a {topic}?",
        f"Should I come in with a {topic}, or wait?",
    )


def _identifies(caller: Caller) -> str:
    birth = caller.patient.birth
    if caller.habit.startswith("wrong_birth") and not caller.has_wandered:
        caller.has_wandered = True
        return f"{caller.patient.name}, {spoken_date(_wrong(birth))}, {caller.patient.phone}."
    return caller.pick(
        f"{caller.patient.name}, {spoken_date(birth)}, and the number is {caller.patient.phone}.",
        f"My name is {caller.patient.name}, born {spoken_date(birth)}, {caller.patient.phone}.",
        f"It's {caller.patient.name}, {spoken_date(birth)}. My phone is {caller.patient.phone}.",
    )


def _corrects(caller: Caller) -> str:
    if caller.habit == "wrong_birth_twice":
        return f"{caller.patient.name}, {spoken_date(_wrong(_wrong(caller.patient.birth)))}."
    return f"Sorry, I mixed that up. {caller.patient.name}, {spoken_date(caller.patient.birth)}."


def _wrong(birth: str) -> str:
    year = int(birth[:4]) + 1
    return f"{year}{birth[4:]}"


def _picks(caller: Caller) -> str | Turn:
    if caller.habit == "asks_advice" and not caller.has_wandered:
        caller.has_wandered = True
        topic = caller.pick(*TOPICS)
        return f"Before that, what can I take for a {topic} until then?"
    if caller.habit == "changes_mind" and not caller.has_wandered:
        caller.has_wandered = True
        return caller.pick("Actually, never mind, I will call another day.", "Oh, forget it then.")
    if caller.habit == "picky" and caller.refusals < 2:
        caller.refusals += 1
        return caller.pick("No, that doesn't suit me. Anything later?", "No, I can't make it.")
    if caller.habit == "interrupts" and not caller.has_wandered:
        caller.has_wandered = True
        other = "morning" if re.search(r" at 1[2-7]:", caller.heard) else "afternoon"
        return Turn(
            caller.pick(f"Sorry, is there anything in the {other}?", f"Wait, only {other}s work."),
            cuts_in_at=round(caller.chance.uniform(0.2, 0.5), 2),
            confidence=0.81,
        )
    if caller.habit == "keypad":
        return Turn(f"{KEYPAD}1", via="keypad")
    return caller.pick(
        "Yes, that works.", "Yes, please.", "The first one, please.", "Okay, the first one."
    )


def _agrees(caller: Caller) -> str | Turn:
    if caller.intent == "cancel" and caller.habit == "changes_mind" and not caller.has_wandered:
        caller.has_wandered = True
        return caller.pick("Oh no, leave it as it is after all.", "No, never mind, I will come.")
    if caller.habit == "keypad":
        return Turn(f"{KEYPAD}1", via="keypad")
    return caller.pick("Yes.", "Yes, please.", "Yes, go ahead.", "Right, yes please.")


def _decides_on_nurse(caller: Caller) -> str:
    if caller.habit == "declines":
        return "No, I will wait and see."
    return caller.pick(
        "Yes please, that would help.",
        f"Yes, my name is {caller.patient.name}.",
        f"Sure, this is {caller.patient.name}.",
    )


def _takes_advice(caller: Caller) -> str:
    if caller.intent == "advice":
        return caller.pick("All right, thank you.", "Hm, thanks, goodbye.")
    return caller.pick(
        "All right. I would still like the appointment.", "Fine, book me an appointment."
    )


def _moves_on(caller: Caller) -> str:
    if caller.habit == "abusive":
        return caller.pick("Fine. I need an appointment.", "You are still useless. A person, now.")
    return caller.pick("I need an appointment.", "Then I would like to book an appointment.")


def _thanks(caller: Caller) -> str:
    return caller.pick("No, that's all. Thank you.", "Thank you, goodbye.", "Thanks, bye.")


def _insists(caller: Caller) -> str:
    return caller.pick("No, I want to speak to a person.", "I really need a human for this.")


def _repeats(caller: Caller) -> str:
    return caller.said or _states_goal(caller)


def _lost(caller: Caller) -> str | None:
    return "Sorry, what did you say?" if caller.turns < 10 else None


_ANSWERS: Final[dict[str, Callable[[Caller], str | Turn | None]]] = {
    "still_there": lambda caller: "Yes, sorry, I am here. " + _states_goal(caller),
    "repeats": _repeats,
    "greets": _opens,
    "not_found": _corrects,
    "asks_identity": _identifies,
    "offers_nurse": _decides_on_nurse,
    "refuses_advice": _takes_advice,
    "advises": _takes_advice,
    "offers": _picks,
    "reads_back": _agrees,
    "asks_cancel": _agrees,
    "warns": _moves_on,
    "hours": _moves_on,
    "tries_first": _insists,
    "no_person": _thanks,
    "none_booked": _thanks,
    "booked": _thanks,
    "moved": _thanks,
    "cancelled": _thanks,
    "kept": _thanks,
    "no_slots": _thanks,
    "nurse_will_call": _thanks,
    "still_trouble": _thanks,
}
"""How a caller answers, by what the agent did; the first that fits."""
