"""The demo's callers: made-up people who answer what they hear, each with a goal and habits.

Who calls, and what they say to what, stands in ``data/callers.toml``; a seed determines every word.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal

import msgspec

from refold.demo.clinic import DOCTORS, Patient
from refold.demo.tables import MONTHS, When, cues_in, holds, text


class Line(msgspec.Struct, frozen=True):
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
    lines: tuple[Line, ...]


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
